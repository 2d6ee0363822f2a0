package vm

import (
	"context"
	"errors"
	"fmt"
	"time"

	"beffroi.dev/pkg/guest/qmp"
)

// attach looks for a QEMU of this VM that lives, before the driver runs.
func (d *driver) attach() error {
	r, err := d.v.dir.load()
	if err != nil {
		return err
	}
	if r != nil {
		d.proc, err = watch(r.PID, r.StartTime)
		if err != nil && !errors.Is(err, errGone) {
			return err
		}
	}
	if d.proc == nil && d.v.dir.lives() {
		// Started by a supervisor that died before it could write it down.
		if d.proc, err = d.ownerOfMonitor(); err != nil {
			return fmt.Errorf("%w, but cannot be found: %w", ErrLives, err)
		}
	}
	if d.proc == nil {
		d.v.dir.clear()
		return nil
	}
	d.found = true
	d.announce = r != nil && len(r.Spec.Cards) > 0 // whoever started it may have died before
	d.enter(Starting, "QEMU found alive")
	return nil
}

func (d *driver) ownerOfMonitor() (*process, error) {
	ctx, cancel := context.WithTimeout(context.Background(), qmpTimeout)
	defer cancel()
	m, err := qmp.Open(ctx, d.v.dir.qmp(), qmp.Config{}, d.v.log)
	if err != nil {
		return nil, err
	}
	defer m.Close()
	pid, err := m.PID()
	if err != nil {
		return nil, err
	}
	return watch(pid, 0)
}

// open takes a monitor, or the news that there is none.
func (d *driver) open(ctx context.Context, o opening) {
	if d.proc == nil {
		if o.monitor != nil {
			_ = o.monitor.Close()
		}
		return
	}
	if o.err != nil {
		if d.state != Starting || d.found {
			d.v.log.Warn("monitor does not answer", "cause", o.err)
			d.again() // the guest may be well: it does not depend on us
			return
		}
		// It never came up: its disks are not there, most likely.
		d.v.log.Warn("QEMU is ended", "cause", o.err)
		if err := d.proc.kill(); err != nil {
			d.v.log.Warn("QEMU stays", "cause", err)
		}
		return
	}
	d.monitor = o.monitor
	d.events, _ = o.monitor.Events(ctx)
	d.look(ctx, "found running")
}

// lost follows the end of the monitor's connection, which QEMU's own end mostly
// is.
func (d *driver) lost() {
	_ = d.monitor.Close()
	d.monitor, d.events = nil, nil
	d.again()
}

// look asks QEMU how its guest runs, and follows it.
func (d *driver) look(ctx context.Context, cause string) {
	status, err := d.monitor.Status(ctx)
	if err != nil {
		d.v.log.Warn("status unknown", "cause", err)
		return // its end, or the end of the monitor, comes as an event
	}
	was := d.state
	switch status {
	case qmp.Running:
		if was != ShuttingDown && was != Running {
			d.enter(Running, cause)
		}
	case qmp.IOError:
		if d.ioCause == "" {
			d.ioCause = "a disk failed"
		}
		d.enter(PausedIO, d.ioCause)
	case qmp.ShutDown:
	default:
		if was != Paused {
			d.enter(Paused, "QEMU says "+string(status))
		}
	}
	if was == Starting && d.state != Starting {
		d.finish(d.active, nil)
	}
	if d.state == Running && d.announce {
		d.announce = false
		if err := d.monitor.Announce(ctx); err != nil {
			d.v.log.Warn("the network learns from the guest alone where it is now", "cause", err)
		}
	}
}

// event follows what QEMU tells.
func (d *driver) event(ctx context.Context, e qmp.Event) {
	switch e.Event {
	case "BLOCK_IO_ERROR":
		d.ioCause = fmt.Sprintf("%v of disk %v failed", e.Data["operation"], e.Data["node-name"])
		if e.Data["nospace"] == true {
			d.ioCause += ": no space left"
		}
	case "STOP", "RESUME":
		d.look(ctx, "QEMU says "+e.Event)
	case "SHUTDOWN":
		d.offCause = fmt.Sprint(e.Data["reason"])
	}
}

// disobeyed ends the wait for a guest that ignores its power button.
func (d *driver) disobeyed() {
	if a := d.asked[d.active]; a.verb != ShutDown {
		return
	}
	if d.state == ShuttingDown {
		d.enter(Running, fmt.Sprintf("it ignored its power button for %v", d.v.cfg.ShutdownWait))
	}
	d.finish(d.active, fmt.Errorf("%w within %v", ErrObeysNot, d.v.cfg.ShutdownWait))
}

// gone follows the end of QEMU.
func (d *driver) gone(end string) {
	d.lastEvents()
	d.life()
	d.deadline.Stop()
	if d.monitor != nil {
		_ = d.monitor.Close()
		d.monitor, d.events = nil, nil
	}
	d.boundSerial()
	d.v.cfg.Cgroups.remove(d.v.cfg.Name)
	d.v.dir.clear()
	d.proc.release()
	d.proc = nil
	was := d.state
	var err error
	switch {
	case d.forced:
		d.enter(Stopped, "forced off")
	case d.offCause != "":
		d.enter(Stopped, "switched off: "+d.offCause)
	default:
		words := d.v.dir.lastWords()
		err = fmt.Errorf("QEMU ended by itself (%s): %s", end, words)
		d.enter(Failed, err.Error())
	}
	if was == Starting && err == nil && !d.forced {
		err = errors.New("the guest switched itself off at once")
	}
	d.finish(d.active, err)
}

// lastEvents takes what QEMU said before its end: the reason may be among it. Its
// end closes the stream.
func (d *driver) lastEvents() {
	if d.events == nil {
		return
	}
	bound := time.NewTimer(time.Second)
	defer bound.Stop()
	for {
		select {
		case e, ok := <-d.events:
			if !ok {
				return
			}
			if e.Event == "SHUTDOWN" {
				d.offCause = fmt.Sprint(e.Data["reason"])
			}
		case <-bound.C:
			return
		}
	}
}

// detach lets go of QEMU, which lives on.
func (d *driver) detach() {
	if d.life != nil {
		d.life()
	}
	if d.monitor != nil {
		_ = d.monitor.Close()
	}
	for id := range d.asked {
		d.finish(id, ErrDetached)
	}
}
