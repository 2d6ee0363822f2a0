package boot

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"beffroi.dev/pkg/host/power"
	"beffroi.dev/pkg/task"
)

// End is how a machine goes down.
type End int

// The ends.
const (
	PowerOff End = unix.LINUX_REBOOT_CMD_POWER_OFF
	Reboot   End = unix.LINUX_REBOOT_CMD_RESTART
)

// ending is the end that somebody asked for: the first one counts. It hands the
// node's work over before what runs stops; who asks again does not want to wait for
// that.
type ending struct {
	stop  func() // what runs
	tasks *task.Group

	mu       sync.Mutex // guards all below
	asked    bool
	how      End
	handOver func() // nil: there is nothing to hand over
}

// orderly says what is to be done before what runs stops, from now on.
func (e *ending) orderly(handOver func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.handOver = handOver
}

func (e *ending) ask(how End) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.asked || e.handOver == nil {
		if !e.asked {
			e.asked, e.how = true, how
		}
		e.stop()
		return
	}
	e.asked, e.how = true, how
	handOver := e.handOver
	e.tasks.Go("hand over", func(context.Context) error {
		handOver()
		e.stop()
		return nil
	})
}

// what is the end to make; a reboot when nobody has said.
func (e *ending) what() End {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.asked {
		return Reboot
	}
	return e.how
}

// onSignals turns signals into an end of the machine: SIGTERM powers off, SIGUSR1
// and SIGINT reboot.
func (e *ending) onSignals() {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGUSR1, syscall.SIGINT)
	go func() { // as long as the machine lives
		for s := range signals {
			how := Reboot
			if s == syscall.SIGTERM {
				how = PowerOff
			}
			e.ask(how)
		}
	}()
}

// watchButton powers off when the machine's power button is pressed.
func (s *system) watchButton(ctx context.Context, pressed func()) error {
	return power.Watch(ctx, power.Config{}, func() {
		s.log.Info("the power button was pressed: powering off")
		pressed()
	}, s.log)
}

// grace is how long processes that are left get to end by themselves.
const grace = 5 * time.Second

// halt ends what is left of the machine, in order: processes, state, the watchdog that
// guards this, power. Its services have stopped before.
func halt(end End, disarm func()) error {
	others(unix.SIGTERM)
	for limit := time.Now().Add(grace); time.Now().Before(limit) && others(0) > 0; {
		time.Sleep(50 * time.Millisecond)
	}
	others(unix.SIGKILL)
	unix.Sync()
	_ = unix.Unmount(statePath+"/node/run", unix.MNT_DETACH)
	if err := unix.Unmount(statePath, 0); err != nil {
		_ = unix.Mount("", statePath, "", unix.MS_REMOUNT|unix.MS_RDONLY, "") // whoever holds it cannot write any more
	}
	unix.Sync()
	disarm()
	if err := unix.Reboot(int(end)); err != nil {
		return fmt.Errorf("end the machine: %w", err)
	}
	return nil
}

// others sends a signal to every process of user land but this one and process 1,
// and returns how many there are.
func others(sig unix.Signal) int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return 0
	}
	n := 0
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == 1 || pid == os.Getpid() || isKernel(pid) {
			continue
		}
		if n++; sig != 0 {
			_ = unix.Kill(pid, sig) // it may be gone
		}
	}
	return n
}

// isKernel reports whether a process is a thread of the kernel, or a dead one.
func isKernel(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return err != nil || strings.Trim(string(b), "\x00") == ""
}
