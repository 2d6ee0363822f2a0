// Command pid1 is process 1 of an appliance, /init of its image: a reaper and
// nothing else. It holds no part of the product, because a fault in process 1 is a
// kernel panic.
//
// It gives itself a console, starts `beffroi init`, and collects every process
// that loses its parent. When init ends by itself or is killed, it says so on the
// console and starts it again, at once the first time and then with pauses that
// grow to a minute; guests live on meanwhile. A machine whose init cannot live
// keeps its consoles: `beffroi rescue` is started beside it on each terminal, and
// ended when init has settled, because init keeps consoles of its own.
//
// A signal that somebody sends does not end it. SIGTERM, SIGINT (which is Ctrl-Alt-Del)
// and SIGUSR1 ask init to reboot in order, SIGUSR2 to power off. Without an init, or when init ends
// without having done it, the machine is rebooted at once: its disks stand a power cut.
//
// It ends only with the machine.
package main

import (
	"fmt"
	"os"
	"syscall"
	"time"
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
	// The kernel would reset the machine at Ctrl-Alt-Del; now it sends SIGINT instead.
	if err := syscall.Reboot(syscall.LINUX_REBOOT_CMD_CAD_OFF); err != nil {
		say("beffroi: Ctrl-Alt-Del resets this machine at once: %v", err)
	}
	r := newReaper(limits{settled: 2 * time.Minute, maxPause: time.Minute, rescueAfter: 3})
	r.program, r.ttys = "/beffroi/bin/beffroi", []string{"/dev/ttyS0", "/dev/tty1"}
	r.machine = func(how int) error {
		syscall.Sync()
		return syscall.Reboot(how)
	}
	r.keep()
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
