package vm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// process is a QEMU, known by a descriptor that cannot come to mean another one.
type process struct {
	pid   int
	start uint64
	pidfd int
	child bool // of ours: its end is ours to collect
}

// launch starts a QEMU in a session of its own, born in a control group if one is
// given, and as a user if one is. It inherits the lock and writes
// its output to a file; no other descriptor of ours reaches it.
func launch(binary string, args []string, dir folder, group *os.File, u *User) (*process, error) {
	path, err := exec.LookPath(binary)
	if err != nil {
		return nil, fmt.Errorf("start QEMU: %w", err)
	}
	lock, err := dir.takeLock()
	if err != nil {
		return nil, fmt.Errorf("start QEMU: %w", err)
	}
	defer lock.Close() // QEMU's copy keeps it
	dir.clear()
	out, err := os.OpenFile(dir.qemuLog(), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o640)
	if err != nil {
		return nil, fmt.Errorf("start QEMU: %w", err)
	}
	defer out.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, fmt.Errorf("start QEMU: %w", err)
	}
	defer null.Close()
	sys := &syscall.SysProcAttr{Setsid: true}
	if group != nil {
		sys.UseCgroupFD, sys.CgroupFD = true, int(group.Fd())
	}
	if u != nil {
		sys.Credential = &syscall.Credential{Uid: u.ID, Gid: u.Group, Groups: u.Groups}
	}
	start := os.StartProcess
	if u != nil {
		start = startWithoutRights
	}
	p, err := start(path, append([]string{binary}, args...), &os.ProcAttr{
		Dir: dir.live, Env: []string{"PATH=/usr/bin:/bin", "LANG=C"}, Files: []*os.File{null, out, out, lock}, Sys: sys,
	})
	if err != nil {
		return nil, fmt.Errorf("start QEMU: %w", err)
	}
	pid := p.Pid
	_ = p.Release() // its end is awaited on our own descriptor
	proc, err := watch(pid, 0)
	if err != nil {
		_ = unix.Kill(pid, unix.SIGKILL)
		_, _ = unix.Wait4(pid, nil, 0, nil)
		return nil, fmt.Errorf("start QEMU: %w", err)
	}
	proc.child = true
	return proc, nil
}

// startWithoutRights is os.StartProcess for a process that gets none of the
// capabilities of this one. Ambient ones pass to every child, also to one of another
// user; they belong to the thread that starts it, so one is used up for that.
func startWithoutRights(path string, args []string, attr *os.ProcAttr) (p *os.Process, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: the thread ends with this goroutine
		if err = unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
			err = fmt.Errorf("give up capabilities: %w", err)
			return
		}
		p, err = os.StartProcess(path, args, attr)
	}()
	<-done
	return p, err
}

var errGone = errors.New("the process is gone")

// watch takes hold of a process. A start time other than 0 must be its own.
func watch(pid int, start uint64) (*process, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil, errGone
	}
	if err != nil {
		return nil, fmt.Errorf("watch process %d: %w", pid, err)
	}
	// Read after the descriptor was opened: it is that process's own.
	began, err := startTime(pid)
	if err != nil || start != 0 && began != start {
		_ = unix.Close(fd)
		return nil, errGone
	}
	return &process{pid: pid, start: began, pidfd: fd}, nil
}

// wait returns when the process has ended, with what is known of its end, or when
// ctx has.
func (p *process) wait(ctx context.Context) (end string, err error) {
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		return "", fmt.Errorf("watch process %d: %w", p.pid, err)
	}
	woken := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		_, _ = unix.Write(wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
		close(woken)
	})
	defer func() {
		if !stop() {
			<-woken // the descriptor must not be another's when it is written to
		}
		_ = unix.Close(wake)
	}()
	for {
		fds := []unix.PollFd{{Fd: int32(p.pidfd), Events: unix.POLLIN}, {Fd: int32(wake), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, -1); err != nil && !errors.Is(err, unix.EINTR) {
			return "", fmt.Errorf("watch process %d: %w", p.pid, err)
		}
		if fds[0].Revents != 0 {
			return p.collect(), nil
		}
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
	}
}

// collect reaps a child and words its end.
func (p *process) collect() string {
	if !p.child {
		return "ended"
	}
	var status unix.WaitStatus
	if pid, err := unix.Wait4(p.pid, &status, unix.WNOHANG, nil); err != nil || pid != p.pid {
		return "ended" // PID 1 was faster
	}
	if status.Signaled() {
		return "killed by " + status.Signal().String()
	}
	return fmt.Sprintf("exit status %d", status.ExitStatus())
}

// kill ends the process and its group, which is its own session's. Nothing is
// done to a process that has ended: its number may be another's by now.
func (p *process) kill() error {
	if err := unix.PidfdSendSignal(p.pidfd, 0, nil, 0); err != nil {
		return nil
	}
	_ = unix.Kill(-p.pid, unix.SIGKILL)
	if err := unix.PidfdSendSignal(p.pidfd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("kill QEMU %d: %w", p.pid, err)
	}
	return nil
}

func (p *process) release() { _ = unix.Close(p.pidfd) }
