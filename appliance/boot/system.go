package boot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"beffroi.dev/appliance/config"
	"beffroi.dev/appliance/pairing"
	"beffroi.dev/appliance/seed"
	"beffroi.dev/board"
	"beffroi.dev/board/catalog"
	"beffroi.dev/pkg/host/layout"
	"beffroi.dev/pkg/host/netcfg"
	"beffroi.dev/pkg/host/netcfg/serviceaddr"
	"beffroi.dev/pkg/host/pstore"
	"beffroi.dev/pkg/host/rootfs"
	"beffroi.dev/pkg/host/watchdog"
	"beffroi.dev/pkg/task"
)

// Places of the image.
const (
	statePath  = "/state"
	moduleRoot = "/modules"
	modprobe   = "/beffroi/bin/modprobe"
	// modulesDone says that a life of init in this boot has loaded the modules.
	modulesDone = "/run/beffroi/modules"
	userland    = "/usr.squashfs"
	classBlock  = "/sys/class/block"
	microcode   = "/kernel"
)

// Names of our partitions; see pkg/host/layout.
const (
	seedName  = "beffroi-seed"
	stateName = "beffroi-state"
	storeName = "beffroi-store"
)

// watchdogTimeout is long beside every profile's fence: a guest that must die is
// dead by then, or the machine is.
const watchdogTimeout = 30 * time.Second

// system is what the phases find out and make, in their order.
type system struct {
	dir     config.Dir
	release Release
	out     io.Writer // of init and its consoles: a log in memory
	log     *slog.Logger
	board   board.Board
	modules *rootfs.Modules // never nil: one that knows none until their list is read
	listed  bool            // it is
	again   bool            // an earlier life of init in this boot has loaded them
	feeder  *feeder
	armed   func(Watchdog) // told of it
	node    *config.Node
	store   rootfs.Partition
	net     *netcfg.Engine
	tasks   *task.Group
	pairing atomic.Pointer[pairing.Engine] // of a blank node, and until its founding has nothing left to do
	seeking sync.Mutex                     // held while looking begins or ends
	looking atomic.Bool                    // for a machine that takes the twin's place
	lan     lanTrial
	holder  atomic.Pointer[serviceaddr.Holder] // of the service address; nil: this node has none yet
	leasing sync.Mutex                         // guards unlease
	probing bool                               // somebody looks at the cables
	unlease func()                             // ends the client that keeps the lease; nil: there is none
}

func newSystem(dir config.Dir, release Release, out io.Writer, log *slog.Logger, tasks *task.Group) *system {
	return &system{dir: dir, release: release, out: out, log: log, modules: new(rootfs.Modules),
		feeder: newFeeder(tasks.Context(), log), net: netcfg.New(log, netcfg.Options{Names: "/etc/resolv.conf"}), tasks: tasks}
}

func (s *system) mounts(context.Context) (string, error) {
	if err := rootfs.MountAll(rootfs.Kernel()); err != nil {
		return "", err
	}
	// From here on a panic is worth another start; before, it would be the same one
	// for ever (see the command line in image/build).
	if err := os.WriteFile("/proc/sys/kernel/panic", []byte("10"), 0); err != nil {
		return "", fmt.Errorf("restart after a panic: %w", err)
	}
	if err := reserve(); err != nil {
		return "", err
	}
	// The kernel has taken its processor's part long before; the rest is memory.
	if err := os.RemoveAll(microcode); err != nil {
		return "", fmt.Errorf("free the microcode: %w", err)
	}
	if err := harden(); err != nil {
		s.log.Error("the kernel is less strict than it should be", "cause", err)
	}
	return "", nil
}

// smallMachine has no guests for whom the kernel should keep memory in large pieces.
const smallMachine = 8 << 30

// reserve lowers what the kernel keeps free for itself on a small machine: it takes
// 67 MB to form huge pages from, of whatever memory there is.
func reserve() error {
	var i unix.Sysinfo_t
	if err := unix.Sysinfo(&i); err != nil {
		return fmt.Errorf("size of the memory: %w", err)
	}
	if i.Totalram*uint64(i.Unit) >= smallMachine {
		return nil
	}
	if err := os.WriteFile("/proc/sys/vm/min_free_kbytes", []byte("16384"), 0); err != nil {
		return fmt.Errorf("reserve of the kernel: %w", err)
	}
	return nil
}

// identify reads who made this machine.
func (s *system) identify(context.Context) (string, error) {
	id := func(name string) string {
		b, _ := os.ReadFile(filepath.Join("/sys/class/dmi/id", name)) // a machine without it is generic
		return strings.TrimSpace(string(b))
	}
	s.board = catalog.Match(board.SMBIOS{Vendor: id("sys_vendor"), Product: id("product_name")})
	return s.board.Name, nil
}

func (s *system) loadModules(context.Context) (string, error) {
	if err := s.findModules(); err != nil {
		return "", err
	}
	// Guests have until their fence for an init that was killed to be there again: what
	// an earlier life has loaded is not looked for anew, which takes seconds.
	if _, err := os.Stat(modulesDone); err == nil {
		s.again = true
		return "loaded by an earlier life of init", nil
	}
	var faults []error
	for _, name := range s.board.Modules {
		if err := s.modules.Load(name); err != nil {
			faults = append(faults, err)
		}
	}
	s.feeder.moves() // what depends on hardware follows
	faults = append(faults, s.modules.Coldplug("/sys/devices")...)
	faults = append(faults, rootfs.MountAll(rootfs.Kernel())) // some file systems are modules
	// What the kernel asks for later, and devices that appear later.
	if err := os.WriteFile("/proc/sys/kernel/modprobe", []byte(modprobe), 0); err != nil {
		faults = append(faults, fmt.Errorf("the kernel cannot ask for modules: %w", err))
	}
	if err := os.WriteFile(modulesDone, nil, 0o600); err != nil {
		faults = append(faults, err)
	}
	// A driver that is missing or does not load is told, and the boot goes on: what
	// needs it says so by itself.
	return "", errors.Join(faults...)
}

// findModules reads the list of the modules of this kernel, unless that was done.
func (s *system) findModules() error {
	if s.listed {
		return nil
	}
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return fmt.Errorf("name of the kernel: %w", err)
	}
	return s.openModules(filepath.Join(moduleRoot, unix.ByteSliceToString(u.Release[:])))
}

// openModules reads their list. Without one the boot goes on with what is part of the
// kernel, and each phase that needs more says so.
func (s *system) openModules(dir string) error {
	m, err := rootfs.OpenModules(dir)
	if err != nil {
		return err
	}
	s.modules, s.listed = m, true
	return nil
}

// arm starts the watchdog, before anything that may hang. What its driver cannot do
// without is loaded here; all others follow when there is firmware for them.
func (s *system) arm(context.Context) (string, error) {
	unlisted := s.findModules()
	_ = s.modules.Load("efi_pstore") // the board's list has it too, and tells what is wrong with it
	s.findWatchdog()
	w, err := watchdog.Open(watchdog.Config{Path: "/dev/watchdog", Timeout: watchdogTimeout})
	if err != nil {
		return "", errors.Join(unlisted, err)
	}
	s.feeder.start(w)
	s.armed(Watchdog{Driver: w.Driver, Seconds: w.Timeout.Seconds()})
	if watchdog.Software(w.Driver) {
		unlisted = errors.Join(unlisted, watchdog.ErrSoftware)
	}
	return fmt.Sprintf("%s, %v", w.Driver, w.Timeout), unlisted
}

// findWatchdog loads what the board names until there is a watchdog. A driver looks for
// its hardware while it is loaded, and may find none; only before the last resort it is
// waited for, because a controller that speaks IPMI may be slow.
func (s *system) findWatchdog() {
	const device = "/dev/watchdog"
	for _, name := range s.board.Watchdog {
		var bound time.Duration
		if name == board.Softdog {
			bound = 2 * time.Second
		}
		if settle(device, bound) == nil {
			return
		}
		if err := s.modules.Load(name); err != nil {
			s.log.Info("no watchdog by this driver", "module", name, "cause", err)
		}
	}
	_ = settle(device, 500*time.Millisecond) // who opens it says that it is not there
}

// settle waits for a device to appear.
func settle(path string, bound time.Duration) error {
	for end := time.Now().Add(bound); ; time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat(path); err == nil || time.Now().After(end) {
			return err
		}
	}
}

func (s *system) mountUserland(context.Context) (string, error) {
	for _, name := range []string{"loop", "squashfs"} {
		if err := s.modules.Load(name); err != nil && !errors.Is(err, rootfs.ErrNoModule) {
			return "", err
		}
	}
	return "", rootfs.MountImage(userland, "/usr", "squashfs")
}

// disk finds the appliance's partitions and gives the store the rest of the disk.
func (s *system) disk(context.Context) (string, error) {
	state, err := s.partition(stateName)
	if errors.Is(err, rootfs.ErrNoPartition) {
		err = errors.Join(tooSmall(), err)
	}
	if err != nil {
		return "", err
	}
	f, err := os.OpenFile(state.Disk, os.O_RDWR, 0)
	if err != nil {
		return "", fmt.Errorf("open disk: %w", err)
	}
	defer f.Close()
	size, err := f.Seek(0, 2)
	if err != nil {
		return "", fmt.Errorf("size of %s: %w", state.Disk, err)
	}
	grown, err := layout.Grow(f, size)
	if err != nil {
		return "", fmt.Errorf("partitions of %s: %w", state.Disk, err)
	}
	if grown {
		if err := rootfs.Reread(f); err != nil {
			return "", fmt.Errorf("partitions of %s: %w", state.Disk, err)
		}
	}
	if s.store, err = rootfs.FindPartition(classBlock, storeName); err != nil {
		return "", err
	}
	return fmt.Sprintf("%s, %d GB for volumes", state.Disk, s.store.Size>>30), nil
}

// tooSmall names the disks that begin as ours do and lack their end. The kernel shows
// no partition of such a disk.
func tooSmall() error {
	entries, _ := os.ReadDir(classBlock)
	var faults []error
	for _, e := range entries {
		f, err := os.Open(filepath.Join("/dev", e.Name()))
		if err != nil {
			continue // what cannot be read is not the disk that the machine booted from
		}
		size, err := f.Seek(0, io.SeekEnd)
		if err == nil {
			_, err = layout.Read(f, size)
		}
		if errors.Is(err, layout.ErrTooSmall) {
			faults = append(faults, fmt.Errorf("%s: %w", f.Name(), layout.ErrTooSmall))
		}
		_ = f.Close()
	}
	return errors.Join(faults...)
}

// partition waits a little for a disk that is slow to appear.
func (s *system) partition(name string) (rootfs.Partition, error) {
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		p, err := rootfs.FindPartition(classBlock, name)
		if err == nil || !errors.Is(err, rootfs.ErrNoPartition) || time.Now().After(end) {
			return p, err
		}
	}
}

func (s *system) mountState(ctx context.Context) (string, error) {
	p, err := rootfs.FindPartition(classBlock, stateName)
	if err != nil {
		return "", err
	}
	if err := s.modules.Load("ext4"); err != nil && !errors.Is(err, rootfs.ErrNoModule) {
		return "", err
	}
	made, err := rootfs.MountState(ctx, p.Path, statePath, s.feeder.moves)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(s.dir.Run(), 0o700); err != nil {
		return "", fmt.Errorf("run folder: %w", err)
	}
	if err := rootfs.MountAll([]rootfs.Mount{{Source: "run", Target: s.dir.Run(), Type: "tmpfs", Flags: unix.MS_NOSUID | unix.MS_NODEV, Data: "mode=0700,size=64m"}}); err != nil {
		return "", err
	}
	note := s.lastKernel()
	if made {
		note = strings.TrimSpace("made on a blank partition " + note)
	}
	return note, nil
}

// lastKernel keeps what a kernel that died left behind, beside the logs, and says so.
func (s *system) lastKernel() string {
	d, err := pstore.Collect("/sys/fs/pstore", filepath.Join(s.dir.Logs(), "kernel"), time.Now())
	if err != nil {
		s.log.Error("the last kernel's messages", "cause", err)
	}
	if d.Records == 0 {
		return ""
	}
	s.log.Error("the last kernel died", "records", d.Records, "words", d.Words, "kept", s.dir.Logs()+"/kernel")
	return fmt.Sprintf("the last kernel died: %s (logs/kernel)", d.Words)
}

// identity finds who this node is: its own configuration, a seed's, or that of the
// pair which it founds or is taken into now.
func (s *system) identity(ctx context.Context) (string, error) {
	if _, err := os.Stat(s.dir.Config()); errors.Is(err, os.ErrNotExist) {
		if err := s.takeSeed(); errors.Is(err, seed.ErrNone) {
			err = s.found(ctx)
			if err != nil {
				return "", err
			}
		} else if err != nil {
			return "", err
		}
	}
	n, err := config.Load(s.dir)
	if err != nil {
		return "", err
	}
	if n.Store.Path == "" {
		n.Store.Path = s.store.Path
	}
	s.node = n
	if err := unix.Sethostname([]byte(n.Me().Name)); err != nil {
		return "", fmt.Errorf("host name: %w", err)
	}
	return fmt.Sprintf("node %s, site %s", n.Me().Name, n.Me().Site), nil
}

func (s *system) takeSeed() error {
	p, err := rootfs.FindPartition(classBlock, seedName)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(p.Path, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("open seed: %w", err)
	}
	defer f.Close()
	sd, err := seed.Read(f)
	if err != nil {
		return err
	}
	if sd.Node.Store.Path == "" {
		sd.Node.Store.Path = s.store.Path
	}
	if err := sd.Adopt(s.dir); err != nil {
		return err
	}
	unix.Sync() // the configuration is safe before its source goes
	return errors.Join(seed.Erase(f), f.Sync())
}

// uptime is how long the kernel has run.
func uptime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}
