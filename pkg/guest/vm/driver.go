package vm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"beffroi.dev/pkg/guest/qemu"
	"beffroi.dev/pkg/guest/qmp"
)

const (
	serialEvery = 5 * time.Second // how often the serial log is bounded
	openEvery   = 50 * time.Millisecond
	qmpTimeout  = 10 * time.Second
)

// driver owns a VM's live state. Only its run goroutine touches it.
type driver struct {
	v     *VM
	queue *Queue
	state State
	asked map[uint64]ask // accepted, not finished
	next  uint64

	active  uint64 // the ask that is under way; 0: none
	proc    *process
	life    context.CancelFunc // ends the goroutines of this QEMU
	again   func()             // opens its monitor once more
	monitor *qmp.Monitor
	events  <-chan qmp.Event // nil without a monitor

	opened   chan opening
	ended    chan string // how QEMU ended
	deadline *time.Timer // of a shutdown

	found    bool   // this QEMU was started by an earlier supervisor
	announce bool   // its cards, once it runs
	forced   bool   // a force off is under way
	offCause string // QEMU said that it would end, and why
	ioCause  string // the last disk error
}

type opening struct {
	monitor *qmp.Monitor
	err     error
}

func newDriver(v *VM) *driver {
	t := time.NewTimer(0)
	t.Stop()
	return &driver{v: v, queue: NewQueue(Stopped), state: Stopped, asked: map[uint64]ask{}, opened: make(chan opening), ended: make(chan string), deadline: t}
}

// enter is every change of state.
func (d *driver) enter(s State, cause string) {
	d.state = s
	d.queue.Enter(s)
	pid := 0
	if d.proc != nil {
		pid = d.proc.pid
	}
	d.v.publish(s, cause, pid)
}

// run takes one event at a time.
func (d *driver) run(ctx context.Context) error {
	tick := time.NewTicker(serialEvery)
	defer tick.Stop()
	if d.proc != nil {
		d.follow(ctx)
	}
	for {
		for r, ok := d.queue.Next(); ok; r, ok = d.queue.Next() {
			d.perform(ctx, r)
		}
		select {
		case <-ctx.Done():
			d.detach()
			return nil
		case a := <-d.v.asks:
			d.admit(a)
		case o := <-d.opened:
			d.open(ctx, o)
		case e, ok := <-d.events:
			if ok {
				d.event(ctx, e)
			} else {
				d.lost()
			}
		case end := <-d.ended:
			d.gone(end)
		case <-d.deadline.C:
			d.disobeyed()
		case <-tick.C:
			if d.proc != nil {
				d.boundSerial()
			}
		}
	}
}

func (d *driver) boundSerial() {
	if err := d.v.serial.bound(); err != nil {
		d.v.log.Warn("serial log grows", "cause", err)
	}
}

func (d *driver) admit(a ask) {
	d.next++
	verdict, reason, dropped := d.queue.Ask(Request{a.verb, d.next})
	switch verdict {
	case Ignored:
		a.reply <- nil
	case Denied:
		a.reply <- fmt.Errorf("%w: %s", ErrDenied, reason)
	default:
		d.asked[d.next] = a
	}
	for _, id := range dropped {
		d.finish(id, ErrOvertaken)
	}
}

func (d *driver) finish(id uint64, err error) {
	if a, ok := d.asked[id]; ok {
		delete(d.asked, id)
		a.reply <- err // has room for one
	}
	if id == d.active {
		d.active = 0
	}
}

func (d *driver) perform(ctx context.Context, r Request) {
	switch r.Verb {
	case Start:
		d.active = r.ID
		d.start(ctx, d.asked[r.ID].spec, d.asked[r.ID].user)
	case ForceOff:
		d.finish(d.active, ErrOvertaken)
		if d.state.off() {
			d.finish(r.ID, nil) // it ended by itself meanwhile
			return
		}
		d.active, d.forced = r.ID, true
		if err := d.proc.kill(); err != nil {
			d.finish(r.ID, err)
		}
	case ShutDown:
		if err := d.command(ctx, (*qmp.Monitor).PowerDown); err != nil {
			d.finish(r.ID, err)
			return
		}
		d.active = r.ID
		d.deadline.Reset(d.v.cfg.ShutdownWait)
		d.enter(ShuttingDown, "power button pressed")
	case Pause:
		err := d.command(ctx, (*qmp.Monitor).Stop)
		if err == nil {
			d.enter(Paused, "on request")
		}
		d.finish(r.ID, err)
	case Resume, Continue:
		err := d.command(ctx, (*qmp.Monitor).Cont)
		if err == nil {
			d.enter(Running, "continued")
		}
		d.finish(r.ID, err)
	}
}

func (d *driver) command(ctx context.Context, f func(*qmp.Monitor, context.Context) error) error {
	if d.monitor == nil {
		return errors.New("QEMU's monitor does not answer at the moment")
	}
	return f(d.monitor, ctx)
}

// start launches QEMU. What follows comes as events.
func (d *driver) start(ctx context.Context, spec qemu.Spec, u *User) {
	err := d.launch(spec, u)
	if err != nil {
		if d.proc != nil {
			_ = d.proc.kill() // its end is awaited below
		} else {
			d.enter(Failed, err.Error())
			d.finish(d.active, err)
			return
		}
	}
	d.found, d.forced, d.offCause, d.ioCause = false, false, "", ""
	d.announce = len(spec.Cards) > 0
	d.enter(Starting, "QEMU started")
	d.follow(ctx)
}

func (d *driver) launch(spec qemu.Spec, u *User) error {
	if u != nil {
		if err := d.v.dir.give(*u); err != nil {
			return err
		}
	}
	if spec.Firmware == qemu.UEFI {
		if err := d.freshVars(u); err != nil {
			return err
		}
	}
	args, err := qemu.Args(spec)
	if err != nil {
		return err
	}
	group, err := d.v.cfg.Cgroups.birthplace(d.v.cfg.Name)
	if err != nil && d.v.cfg.Cgroups.Beside() {
		return err // in the service's own group it would die with the service
	}
	if err != nil {
		d.v.log.Warn("no control group for this guest", "cause", err)
	}
	if group != nil {
		defer group.Close()
	}
	if d.proc, err = launch(d.v.cfg.Binary, args, d.v.dir, group, u); err != nil {
		return err
	}
	if err := d.v.cfg.Cgroups.enter(d.v.cfg.Name, d.proc.pid); err != nil {
		d.v.log.Warn("no control group for this guest", "cause", err)
	}
	return d.v.dir.save(record{PID: d.proc.pid, StartTime: d.proc.start, Spec: spec})
}

// freshVars gives a VM its own copy of the firmware's variables, once.
func (d *driver) freshVars(u *User) error {
	path := d.v.dir.vars()
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	b, err := os.ReadFile(d.v.cfg.UEFIVars)
	if err != nil {
		return fmt.Errorf("firmware variables: %w", err)
	}
	_ = os.Remove(path + ".new") // an attempt that was cut short, or something that QEMU put there
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o660)
	if err != nil {
		return fmt.Errorf("firmware variables: %w", err)
	}
	_, err = f.Write(b)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("firmware variables: %w", err)
	}
	if u != nil {
		if err := u.own(path + ".new"); err != nil {
			return fmt.Errorf("firmware variables: %w", err)
		}
	}
	return os.Rename(path+".new", path)
}

// follow starts the goroutines of a QEMU: one awaits its end, one its monitor.
func (d *driver) follow(ctx context.Context) {
	ctx, d.life = context.WithCancel(ctx)
	proc := d.proc
	d.v.tasks.Go("vm process", func(context.Context) error {
		end, err := proc.wait(ctx)
		if err == nil {
			select {
			case d.ended <- end:
				return nil
			case <-ctx.Done():
			}
		}
		proc.release() // let go of, alive
		return nil
	})
	d.again = func() { d.reach(ctx) }
	d.again()
}

// reach opens the monitor, again and again until StartWait has passed.
func (d *driver) reach(ctx context.Context) {
	socket, log := d.v.dir.qmp(), d.v.log
	d.v.tasks.Go("vm monitor", func(context.Context) error {
		bound, cancel := context.WithTimeout(ctx, d.v.cfg.StartWait)
		defer cancel()
		var o opening
		for {
			var err error
			o.monitor, err = qmp.Open(bound, socket, qmp.Config{Timeout: qmpTimeout}, log)
			if err == nil || bound.Err() != nil {
				if o.monitor == nil {
					o.err = err
				}
				break
			}
			select {
			case <-bound.Done():
			case <-time.After(openEvery):
			}
		}
		select {
		case d.opened <- o:
		case <-ctx.Done():
			if o.monitor != nil {
				_ = o.monitor.Close()
			}
		}
		return nil
	})
}
