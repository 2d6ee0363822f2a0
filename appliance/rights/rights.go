package rights

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"beffroi.dev/appliance/config"
	"beffroi.dev/pkg/host/account"
	"beffroi.dev/pkg/host/cgroup"
	"beffroi.dev/pkg/host/supervise"
)

// profile is a line of the table.
type profile struct {
	user   account.ID
	caps   []uintptr
	group  string // below the tree of control groups
	bounds cgroup.Bounds
	oom    int
}

// guests is the control group of all VMs. The vm service lies in it too, beside
// them: who moves a process into a group must own one that is above both.
const guests = "vm"

// What faces the town's network is bounded: whoever fills it takes nothing from the
// guests. What guests stand on dies last.
var table = map[string]profile{
	"node":    {user: account.Node, group: "beffroi/node", bounds: cgroup.Bounds{Low: 128 << 20}, oom: -900},
	"block":   {user: account.Block, group: "beffroi/block", bounds: cgroup.Bounds{Low: 512 << 20}, oom: -900},
	"vm":      {user: account.VM, group: guests + "/service", bounds: cgroup.Bounds{Low: 64 << 20}, oom: -500, caps: []uintptr{unix.CAP_SETUID, unix.CAP_SETGID, unix.CAP_CHOWN, unix.CAP_KILL}},
	"citizen": {user: account.Citizen, group: "beffroi/citizen", bounds: cgroup.Bounds{Memory: 1 << 30, Processes: 512}},
	"console": {user: account.Console, group: "beffroi/console", bounds: cgroup.Bounds{Memory: 1 << 30, Processes: 512}},
}

// Plan gives the services of a node their rights.
type Plan struct {
	Dir   config.Dir
	Store string // the store's device
	// Groups is the tree of control groups.
	Groups string
	// Devices is the folder of the devices that guests use; empty: they stay as they are,
	// because the machine is somebody's.
	Devices string
}

// Prepare makes the folders and the control groups. What fails is told; a node
// without a bound is better than none.
func (p Plan) Prepare() error {
	faults := []error{p.Settle()}
	root := cgroup.Group(p.Groups)
	faults = append(faults, root.Share("memory", "pids", "cpu"))
	for _, name := range []string{"beffroi", guests} {
		g, err := cgroup.Make(filepath.Join(p.Groups, name), cgroup.Bounds{})
		faults = append(faults, err, g.Share("memory", "pids", "cpu"))
	}
	faults = append(faults, cgroup.Group(filepath.Join(p.Groups, guests)).Delegate(int(account.VM)))
	if err := errors.Join(faults...); err != nil {
		return fmt.Errorf("rights: %w", err)
	}
	return nil
}

// Grant gives a service its rights.
func (p Plan) Grant(s *supervise.Service) {
	r, ok := table[s.Name]
	if !ok {
		return
	}
	s.User = &syscall.Credential{Uid: uint32(r.user), Gid: uint32(r.user)}
	for _, g := range account.Groups(r.user) {
		s.User.Groups = append(s.User.Groups, uint32(g))
	}
	s.Caps, s.OOM = r.caps, r.oom
	s.Bounds = r.bounds
	s.Group = cgroup.Group(filepath.Join(p.Groups, r.group))
	s.Before = p.Settle
	s.Sockets = append(s.Sockets, p.sockets(s.Name)...)
}

// sockets are the unix sockets of a service, and who may connect beside root.
func (p Plan) sockets(service string) []supervise.Socket {
	var list []supervise.Socket
	add := func(name string, group account.ID) {
		list = append(list, supervise.Socket{Name: name, Network: "unix", Address: p.Dir.Socket(name), Group: int(group)})
	}
	switch service {
	case "node":
		add("node", account.Services)
	case "block":
		add("block", account.Services)
		add("nbd", account.Disk)
	case "vm":
		add("vm", account.Console)
	case "citizen":
		add("citizen", account.Console)
	case "console":
		add("console", account.Root)
	}
	return list
}

// Speakers may write to init's notify socket, Voucher to its fence.
const (
	Speakers = account.Services
	Voucher  = account.Node
)

// file is what a path of the state folder must be like.
type file struct {
	path        string
	user, group account.ID
	mode        fs.FileMode
	make        bool // a folder, made if it is missing
}

func (p Plan) files() []file {
	d := p.Dir
	in := func(name string) string { return filepath.Join(string(d), name) }
	const root = account.Root
	list := []file{
		{filepath.Dir(string(d)), root, root, 0o711, true},
		{string(d), root, root, 0o711, true},
		{d.Run(), root, root, 0o711, true},
		{d.Logs(), root, root, 0o700, true},
		{d.Config(), root, account.Services, 0o640, false},
		{d.Key(), root, account.Key, 0o640, false},
		{in("network.json"), root, root, 0o600, false},
		{in("rescue-password"), root, root, 0o600, false},
		{d.Token(), account.Console, account.Console, 0o600, false},
		{in("admin-password"), account.Console, account.Console, 0o600, false},
		{d.Vote(), account.Node, account.Node, 0o700, true},
		{d.Own("block"), account.Block, account.Block, 0o700, true},
		{d.Guests(), account.VM, account.VM, 0o711, true},
		{d.Uploads(), account.Console, account.Console, 0o700, true},
		{d.Own("console"), account.Console, account.Console, 0o700, true},
		{filepath.Join(d.Run(), "citizen"), account.Citizen, account.Citizen, 0o700, true},
		{p.Store, account.Block, account.Block, 0o600, false},
	}
	if p.Devices != "" {
		list = append(list,
			file{filepath.Join(p.Devices, "kvm"), root, account.KVM, 0o660, false},
			file{filepath.Join(p.Devices, "net", "tun"), root, account.Tap, 0o660, false})
	}
	return list
}

// Settle puts owners and modes right: at the start, and before each start of a
// service, because who changes the configuration writes it as root.
func (p Plan) Settle() error {
	var faults []error
	for _, f := range p.files() {
		if f.path == "" {
			continue
		}
		if err := f.settle(); err != nil && (f.make || !errors.Is(err, fs.ErrNotExist)) {
			faults = append(faults, err)
		}
	}
	return errors.Join(faults...)
}

func (f file) settle() error {
	if f.make {
		if err := os.MkdirAll(f.path, f.mode); err != nil {
			return fmt.Errorf("who owns what: %w", err)
		}
	}
	var st unix.Stat_t
	if err := unix.Stat(f.path, &st); err != nil {
		return fmt.Errorf("who owns what: %s: %w", f.path, err)
	}
	if account.ID(st.Uid) != f.user || account.ID(st.Gid) != f.group {
		if err := f.give(); err != nil {
			return fmt.Errorf("who owns what: %w", err)
		}
	}
	if fs.FileMode(st.Mode&0o7777) != f.mode {
		if err := os.Chmod(f.path, f.mode); err != nil {
			return fmt.Errorf("who owns what: %w", err)
		}
	}
	return nil
}

// give hands a path over. A service's folder that was another's is given with all
// that is in it, once: later its content is the service's own, and root must follow
// no link that it may have put there.
func (f file) give() error {
	if !f.make || f.user == account.Root {
		return os.Chown(f.path, int(f.user), int(f.group))
	}
	return filepath.WalkDir(f.path, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, int(f.user), int(f.group))
	})
}

// Address is the socket on which the citizen service asks for the service address,
// bound for it.
func Address(d config.Dir) supervise.Socket {
	return supervise.Socket{Name: "address", Network: "unix", Address: d.Socket("address"), Group: int(account.Citizen)}
}

// Tap is the socket on which the vm service asks for the taps of guests, bound for it.
func Tap(d config.Dir) supervise.Socket {
	return supervise.Socket{Name: "tap", Network: "unix", Address: d.Socket("tap"), Group: int(account.VM)}
}
