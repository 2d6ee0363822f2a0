package vm

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"beffroi.dev/pkg/guest/qemu"
	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/task"
)

// Config says where a VM's state lies and how long things may take. The zero
// value of a bound means its default.
type Config struct {
	Name         string        // as in every specification it is started with
	Dir          string        // state folder, made if absent; at most 90 bytes
	Binary       string        // qemu-system-x86_64
	UEFICode     string        // /usr/share/OVMF/OVMF_CODE_4M.fd
	UEFIVars     string        // template: /usr/share/OVMF/OVMF_VARS_4M.fd
	StartWait    time.Duration // from start to the first sign of the monitor; 30 s, more than QEMU waits for its disks
	ShutdownWait time.Duration // for the guest to obey its power button; 90 s
	SerialKeep   int64         // bytes of serial output; 256 KiB
	Cgroups      *Cgroups      // nil: none
	// Apart says that QEMU runs as a user of its own (StartAs). What it makes lies in
	// the folder live then, in the group of this process, whose umask must let a group
	// read and write.
	Apart bool
}

// User is who a QEMU runs as.
type User struct {
	ID, Group uint32
	Groups    []uint32 // beside that
}

// own makes a file the user's, unless it is; its group stays.
func (u User) own(path string) error {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return err
	}
	if st.Uid == u.ID {
		return nil
	}
	return os.Lchown(path, int(u.ID), -1)
}

func (c Config) withDefaults() Config {
	set := func(s *string, def string) {
		if *s == "" {
			*s = def
		}
	}
	set(&c.Binary, "qemu-system-x86_64")
	set(&c.UEFICode, "/usr/share/OVMF/OVMF_CODE_4M.fd")
	set(&c.UEFIVars, "/usr/share/OVMF/OVMF_VARS_4M.fd")
	if c.StartWait == 0 {
		c.StartWait = 30 * time.Second
	}
	if c.ShutdownWait == 0 {
		c.ShutdownWait = 90 * time.Second
	}
	if c.SerialKeep == 0 {
		c.SerialKeep = 256 << 10
	}
	return c
}

// Validate reports every fault.
func (c Config) Validate() error {
	var errs []error
	if err := ident.CheckName(c.Name); err != nil {
		errs = append(errs, err)
	}
	if !filepath.IsAbs(c.Dir) || len(c.Dir) > 90 {
		errs = append(errs, fmt.Errorf("state folder %q: use an absolute path of at most 90 bytes: sockets lie in it", c.Dir))
	}
	if c.StartWait < 0 || c.ShutdownWait < 0 || c.SerialKeep < 0 {
		errs = append(errs, errors.New("bounds: must not be negative"))
	}
	return errors.Join(errs...)
}

var (
	// ErrDenied is returned for a request that makes no sense in the VM's state.
	ErrDenied = errors.New("request denied")
	// ErrObeysNot is returned by ShutDown when the guest ignored its power button.
	ErrObeysNot = errors.New("the guest did not switch itself off")
	// ErrOvertaken is returned for a request that a ForceOff made pointless.
	ErrOvertaken = errors.New("overtaken by a force off")
	// ErrDetached is returned for requests under way when the VM is closed.
	ErrDetached = errors.New("supervisor closed")
)

// VM is one virtual machine.
type VM struct {
	cfg    Config
	dir    folder
	serial serialLog
	log    *slog.Logger
	tasks  *task.Group
	asks   chan ask

	mu      sync.Mutex // guards status, changed
	status  Status
	changed chan struct{} // closed at the next change
}

// ask is a request on its way to the driver.
type ask struct {
	verb  Verb
	spec  qemu.Spec // of a start
	user  *User     // of a start; nil: this process's own
	reply chan error
}

// Open takes charge of a VM. A QEMU of it that lives is found again; its state is
// then starting until its monitor has answered.
func Open(cfg Config, log *slog.Logger) (*VM, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("VM %.60q: %w", cfg.Name, err)
	}
	cfg = cfg.withDefaults()
	dir, err := openFolder(cfg)
	if err != nil {
		return nil, fmt.Errorf("VM %s: %w", cfg.Name, err)
	}
	v := &VM{
		cfg: cfg, dir: dir, log: log.With("room", "vm", "vm", cfg.Name), tasks: task.New(context.Background()),
		asks: make(chan ask), changed: make(chan struct{}), status: Status{State: Stopped, Since: time.Now()},
	}
	v.serial = serialLog{path: v.dir.serialLog(), past: v.dir.oldSerial(), keep: cfg.SerialKeep}
	d := newDriver(v)
	if err := d.attach(); err != nil {
		return nil, fmt.Errorf("VM %s: %w", cfg.Name, err)
	}
	v.tasks.Go("vm driver", d.run)
	return v, nil
}

// Start starts QEMU with a specification, whose sockets and log it fills in. It
// returns when the guest runs, or has failed to.
func (v *VM) Start(ctx context.Context, spec qemu.Spec) error {
	if v.cfg.Apart {
		return fmt.Errorf("start %s: QEMU is to be a user of its own, and none is named", v.cfg.Name)
	}
	return v.start(ctx, spec, nil)
}

// StartAs is Start with QEMU as another user, of a VM that is Apart.
func (v *VM) StartAs(ctx context.Context, spec qemu.Spec, u User) error {
	if !v.cfg.Apart || u.ID == 0 || u.Group == 0 {
		return fmt.Errorf("start %s: user %d of group %d, apart %v: want another user than root for a VM that is apart", v.cfg.Name, u.ID, u.Group, v.cfg.Apart)
	}
	return v.start(ctx, spec, &u)
}

// Sockets are QEMU's monitor and the guest's serial line.
func (v *VM) Sockets() (monitor, serial string) { return v.dir.qmp(), v.dir.serial() }

func (v *VM) start(ctx context.Context, spec qemu.Spec, u *User) error {
	spec.SerialSocket, spec.SerialLog, spec.QMPSocket = v.dir.serial(), v.dir.serialLog(), v.dir.qmp()
	if spec.Firmware == qemu.UEFI {
		spec.UEFICode, spec.UEFIVars = v.cfg.UEFICode, v.dir.vars()
	}
	if err := spec.Validate(); err != nil {
		return fmt.Errorf("start %s: %w", v.cfg.Name, err)
	}
	if spec.Name != v.cfg.Name {
		return fmt.Errorf("start %s: %w: the specification is of %s", v.cfg.Name, qemu.ErrSpec, spec.Name)
	}
	return v.ask(ctx, ask{verb: Start, spec: spec, user: u})
}

// ShutDown presses the guest's power button and returns when it is off, or with
// ErrObeysNot after Config.ShutdownWait; the guest then goes on.
func (v *VM) ShutDown(ctx context.Context) error { return v.ask(ctx, ask{verb: ShutDown}) }

// ForceOff ends QEMU and returns when it is gone.
func (v *VM) ForceOff(ctx context.Context) error { return v.ask(ctx, ask{verb: ForceOff}) }

// Pause stops the guest with its clock.
func (v *VM) Pause(ctx context.Context) error { return v.ask(ctx, ask{verb: Pause}) }

// Resume lets a paused guest run on.
func (v *VM) Resume(ctx context.Context) error { return v.ask(ctx, ask{verb: Resume}) }

// Continue lets a guest that its disk stopped try again. It is called when the
// disk is good again; for a guest that runs it does nothing.
func (v *VM) Continue(ctx context.Context) error { return v.ask(ctx, ask{verb: Continue}) }

// ask hands a request to the driver. A context that ends stops the wait, not the
// request.
func (v *VM) ask(ctx context.Context, a ask) error {
	a.reply = make(chan error, 1)
	err := ErrDetached
	select {
	case v.asks <- a:
		select {
		case err = <-a.reply:
		case <-ctx.Done():
			err = ctx.Err()
		}
	case <-ctx.Done():
		err = ctx.Err()
	case <-v.tasks.Context().Done():
	}
	if err != nil {
		return fmt.Errorf("%v %s: %w", a.verb, v.cfg.Name, err)
	}
	return nil
}

// Status is a copy of the VM's state, and a channel that is closed when it
// changes.
func (v *VM) Status() (Status, <-chan struct{}) {
	v.mu.Lock()
	defer v.mu.Unlock()
	s := v.status
	s.History = slices.Clone(s.History)
	return s, v.changed
}

// publish records a step; the driver alone calls it.
func (v *VM) publish(to State, cause string, pid int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	s := &v.status
	now := time.Now()
	if to != s.State || cause != s.Cause {
		s.History = append(s.History, Change{From: s.State, To: to, Cause: cause, At: now})
		s.History = s.History[max(0, len(s.History)-maxHistory):]
		v.log.Info("state changed", "old", s.State, "new", to, "cause", cause, "pid", pid)
	}
	if to != s.State {
		s.Since = now
	}
	s.State, s.Cause, s.PID = to, cause, pid
	close(v.changed)
	v.changed = make(chan struct{})
}

// Close lets go of the VM. Its QEMU lives on.
func (v *VM) Close() error { return v.tasks.Stop(10 * time.Second) }
