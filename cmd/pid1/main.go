// Command pid1 is process 1 of an appliance, /init of its image: a reaper and
// nothing else. It holds no part of the product, because a fault in process 1 is a
// kernel panic.
//
// It gives itself a console, starts `beffroi init`, and collects every process
// that loses its parent. When init ends by itself or is killed, it says so on the
// console and starts it again, at once the first time and then with pauses that
// grow to a minute; guests live on meanwhile. A machine whose init cannot live
// keeps its console: `beffroi rescue` is started beside it, once, and kept.
//
// It ends only with the machine: init powers off and reboots by itself.
package main

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"
)

const (
	program = "/beffroi/bin/beffroi"
	// settled is how long init must have lived for its end to count as the first.
	settled  = 2 * time.Minute
	maxPause = time.Minute
	// rescueAfter is how many ends in a row bring the rescue console up without init.
	rescueAfter = 3
)

func main() {
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "pid1: this is the first process of the appliance's image; it does nothing elsewhere")
		os.Exit(2)
	}
	console()
	say("beffroi: process 1 is up")
	os.Setenv("PATH", "/beffroi/bin:/usr/bin:/usr/sbin")
	os.Setenv("HOME", "/")
	keep()
}

// console makes /dev and takes /dev/console for what this process and its
// children say.
func console() {
	_ = os.MkdirAll("/dev", 0o755)
	_ = syscall.Mount("dev", "/dev", "devtmpfs", syscall.MS_NOSUID, "mode=0755") // the kernel may have done it
	f, err := os.OpenFile("/dev/console", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		return // nobody can be told
	}
	for fd := range 3 {
		_ = syscall.Dup3(int(f.Fd()), fd, 0)
	}
}

func say(format string, args ...any) { fmt.Fprintf(os.Stdout, format+"\n", args...) }

// start runs a part of the program in a session of its own.
func start(args ...string) int {
	cmd := exec.Command(program, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		say("beffroi: %s cannot be started: %v", args[0], err)
		return 0
	}
	return cmd.Process.Pid
}

// keep never returns.
func keep() {
	ends, rescue := 0, 0
	for {
		begun := time.Now()
		pid := start("init", "--system")
		for pid != 0 {
			dead, how := wait()
			if dead == pid {
				say("beffroi: init has ended (%s) after %v; it is started again", how, time.Since(begun).Round(time.Second))
				break
			}
			if dead == rescue {
				rescue = 0
			}
		}
		if ends++; time.Since(begun) > settled {
			ends = 1
		}
		if ends >= rescueAfter && rescue == 0 {
			rescue = start("rescue", "--dir", "/state/node", "--tty", "/dev/console")
		}
		time.Sleep(pause(ends))
	}
}

// pause before the next start, after so many ends in a row.
func pause(ends int) time.Duration {
	if ends <= 1 {
		return 0
	}
	return min(time.Second<<min(ends-2, 6), maxPause)
}

// wait returns the next dead child, in words how it died.
func wait() (int, string) {
	for {
		var ws syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &ws, 0, nil)
		switch {
		case err == syscall.EINTR:
			continue
		case err != nil: // no child is left
			time.Sleep(time.Second)
			return 0, err.Error()
		case ws.Signaled():
			return pid, "signal " + ws.Signal().String()
		default:
			return pid, fmt.Sprintf("exit code %d", ws.ExitStatus())
		}
	}
}
