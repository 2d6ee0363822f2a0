package main

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"
)

// reaper does what its keeper orders, and collects the dead.
type reaper struct {
	keeper
	program string
	ttys    []string            // of the rescue consoles
	machine func(how int) error // ends it
	stop    <-chan struct{}     // nil, but in a test

	epoch time.Time
	init  int            // 0: none
	on    map[int]string // rescue consoles that run, and where
	dead  chan os.Signal // there may be one: the kernel sends one signal for several
	asked chan os.Signal
}

// newReaper catches signals from here on.
func newReaper(l limits) *reaper {
	r := &reaper{keeper: keeper{limits: l}, epoch: time.Now(), on: map[int]string{},
		dead: make(chan os.Signal, 1), asked: make(chan os.Signal, 16)}
	signal.Notify(r.dead, syscall.SIGCHLD)
	for s := range wishes {
		signal.Notify(r.asked, s)
	}
	for _, s := range meaningless { // not ignored, which children would inherit
		signal.Notify(r.asked, s)
	}
	return r
}

func (r *reaper) now() time.Duration { return time.Since(r.epoch) }

// keep returns only in a test.
func (r *reaper) keep() {
	r.obey(startInit)
	for {
		wait := time.Hour
		if at, ok := r.due(); ok {
			wait = at - r.now()
		}
		timer := time.NewTimer(max(wait, 0))
		select {
		case <-r.dead:
			r.collect()
		case s := <-r.asked:
			r.obey(r.signalled(s.(syscall.Signal))...)
		case <-timer.C:
			r.obey(r.passed(r.now())...)
		case <-r.stop:
			timer.Stop()
			return
		}
		timer.Stop()
	}
}

// collect takes every child that is dead.
func (r *reaper) collect() {
	for {
		var ws syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &ws, syscall.WNOHANG, nil)
		switch {
		case err == syscall.EINTR:
			continue
		case err != nil || pid == 0:
			return
		case pid == r.init:
			how := fmt.Sprintf("exit code %d", ws.ExitStatus())
			if ws.Signaled() {
				how = "signal " + ws.Signal().String()
			}
			say("beffroi: init has ended (%s) after %v; it is started again", how, (r.now() - r.changed).Round(time.Second))
			r.init = 0
			r.obey(r.ended(r.now())...)
		default:
			delete(r.on, pid)
		}
	}
}

func (r *reaper) obey(orders ...order) {
	for _, o := range orders {
		switch o {
		case startInit:
			if r.init = r.start("init", "--system"); r.init == 0 {
				r.obey(r.ended(r.now())...)
				continue
			}
			r.began(r.now())
		case startRescue:
			for _, tty := range r.ttys {
				r.startRescue(tty)
			}
		case endRescue:
			// Not politely: a console that ends gives its terminal back as it was, and takes
			// it so from the one that init keeps there.
			for pid := range r.on {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		case askReboot:
			r.ask(syscall.SIGUSR1)
		case askPowerOff:
			r.ask(syscall.SIGTERM)
		case reboot:
			r.end(syscall.LINUX_REBOOT_CMD_RESTART)
		case powerOff:
			r.end(syscall.LINUX_REBOOT_CMD_POWER_OFF)
		}
	}
}

// ask passes a wish on: appliance/boot knows what each signal means.
func (r *reaper) ask(s syscall.Signal) {
	say("beffroi: init is asked to end this machine (%v)", s)
	if err := syscall.Kill(r.init, s); err != nil {
		say("beffroi: init cannot be asked: %v", err)
	}
}

func (r *reaper) end(how int) {
	say("beffroi: there is no init to ask: this machine ends now")
	if err := r.machine(how); err != nil {
		say("beffroi: this machine cannot be ended: %v", err)
	}
}

// startRescue starts a console on a terminal that is there, unless one runs there.
func (r *reaper) startRescue(tty string) {
	for _, t := range r.on {
		if t == tty {
			return
		}
	}
	f, err := os.OpenFile(tty, os.O_RDWR|syscall.O_NOCTTY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return // this machine has no such terminal
	}
	_ = f.Close()
	if pid := r.start("rescue", "--dir", "/state/node", "--tty", tty); pid != 0 {
		r.on[pid] = tty
	}
}

// start runs a part of the program in a session of its own; 0 is none.
func (r *reaper) start(args ...string) int {
	cmd := exec.Command(r.program, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		say("beffroi: %s cannot be started: %v", args[0], err)
		return 0
	}
	pid := cmd.Process.Pid
	_ = cmd.Process.Release() // it is collected with all others
	return pid
}
