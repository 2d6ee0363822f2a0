package supervise

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"beffroi.dev/pkg/host/cgroup"
)

// unknownPID stands in LISTEN_PID: a process cannot be told its number by the one
// that starts it through exec alone. The service puts its own there.
const unknownPID = "0"

func (s *Supervisor) spawn(c *child) error {
	sv := c.service
	if sv.Before != nil {
		if err := sv.Before(); err != nil {
			s.log.Error("service is not prepared as it should be", "service", sv.Name, "cause", err)
		}
	}
	cmd := exec.Command(sv.Path, sv.Args...)
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+s.cfg.Notify)
	if sv.Limits.Watchdog > 0 {
		cmd.Env = append(cmd.Env, "WATCHDOG_USEC="+strconv.FormatInt(sv.Limits.Watchdog.Microseconds(), 10))
	}
	s.hand(c, cmd)
	c.voice = &voice{log: c.log}
	cmd.Stdout, cmd.Stderr = c.voice, c.voice
	cmd.WaitDelay = pipeBound
	// A group of its own: a terminal's ^C reaches the parent alone, which stops
	// the services in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true, Credential: sv.User, AmbientCaps: sv.Caps}
	if sv.Group != "" {
		f, err := s.birthplace(c)
		if err != nil {
			return fmt.Errorf("start %s: %w", sv.Name, err)
		}
		defer f.Close()
		cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(f.Fd())
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", sv.Name, err)
	}
	c.cmd = cmd
	if sv.OOM != 0 {
		if err := os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", cmd.Process.Pid), []byte(strconv.Itoa(sv.OOM)), 0); err != nil {
			s.log.Warn("service's place among those that are killed for memory is not set", "service", sv.Name, "cause", err)
		}
	}
	s.tasks.Go("wait for "+sv.Name, func(ctx context.Context) error {
		e := exit{child: c, how: "ended by itself"}
		if err := cmd.Wait(); err != nil {
			e.how, e.failed = err.Error(), true
		}
		select {
		case s.exits <- e:
		case <-ctx.Done():
		}
		return nil
	})
	return nil
}

// emptyBound is how long a start waits for the end of what was killed.
const emptyBound = 500 * time.Millisecond

// birthplace makes the group that a life is born in. It is a new one for each life:
// kernels from 6.1.130 on kill a process that is cloned into a group which was ever
// killed, because they compare that group's count of kills with its parent's. Where
// the old one does not empty, as when a process hangs in a dead disk, the new one
// gets another name.
func (s *Supervisor) birthplace(c *child) (*os.File, error) {
	if err := c.group.Remove(emptyBound); err != nil {
		s.log.Error("what a service started does not end", "service", c.service.Name, "cause", err)
		c.lives++
		c.group = c.service.Group + cgroup.Group("."+strconv.Itoa(c.lives))
	}
	if _, err := cgroup.Make(string(c.group), c.service.Bounds); err != nil {
		s.log.Error("service has not the bounds it should have", "service", c.service.Name, "cause", err)
	}
	return c.group.File()
}

// hand gives a service its sockets. One that cannot be opened now is left out: the
// service opens it by itself, and says why if it cannot either.
func (s *Supervisor) hand(c *child, cmd *exec.Cmd) {
	var names []string
	for _, h := range c.sockets {
		if err := h.open(); err != nil {
			s.log.Warn("socket is not handed over", "service", c.service.Name, "cause", err)
			continue
		}
		cmd.ExtraFiles = append(cmd.ExtraFiles, h.file)
		names = append(names, h.socket.Name)
	}
	if len(names) > 0 {
		cmd.Env = append(cmd.Env, "LISTEN_PID="+unknownPID, "LISTEN_FDS="+strconv.Itoa(len(names)), "LISTEN_FDNAMES="+strings.Join(names, ":"))
	}
}

func (s *Supervisor) signal(c *child, sig os.Signal) {
	if c.cmd == nil {
		return
	}
	if sig == syscall.SIGKILL && c.service.Group != "" {
		s.sweep(c) // its main process too
	}
	if err := c.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		s.log.Error("signal failed", "service", c.service.Name, "signal", sig, "cause", err)
	}
}

// sweep kills what is left in a service's group.
func (s *Supervisor) sweep(c *child) {
	if c.group == "" {
		return
	}
	if err := c.group.Kill(); err != nil {
		s.log.Error("what a service started cannot be killed", "service", c.service.Name, "cause", err)
	}
}

// strike is a fence's blow.
func (s *Supervisor) strike(c *child) {
	if c.cmd != nil {
		s.log.Warn("service is killed", "service", c.service.Name, "pid", c.cmd.Process.Pid)
		c.struck = true
		s.signal(c, syscall.SIGKILL)
	}
	s.silence(c)
}

func (s *Supervisor) silence(c *child) {
	for _, h := range c.sockets {
		if err := h.silence(); err != nil {
			s.log.Error("socket goes on listening", "service", c.service.Name, "cause", err)
		}
	}
}
