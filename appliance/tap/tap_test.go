package tap_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"beffroi.dev/appliance/socket"
	"beffroi.dev/appliance/tap"
	"beffroi.dev/pkg/host/account"
	"beffroi.dev/pkg/host/netcfg"
	"beffroi.dev/pkg/host/netcfg/nstest"
	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/cluster"
)

const self, twin = ident.Node(1), ident.Node(2)

// network has taps, or the faults of a kernel.
type network struct {
	mu   sync.Mutex // guards all below
	taps map[netcfg.Tap]int
	fail error
}

func (n *network) locked(f func()) { n.mu.Lock(); defer n.mu.Unlock(); f() }

func (n *network) AddTap(vm string, index, uid int) (string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	t := netcfg.Tap{Link: netcfg.TapName(vm, index), VM: vm, Index: index}
	if n.fail == nil && n.taps[netcfg.Tap{Link: t.Link, VM: vm, Index: index, Used: true}] == 0 {
		n.taps[t] = uid
	}
	return t.Link, n.fail
}

func (n *network) RemoveTap(vm string, index int) error {
	n.locked(func() {
		for t := range n.taps {
			if t.VM == vm && t.Index == index {
				delete(n.taps, t)
			}
		}
	})
	return nil
}

func (n *network) Taps() (list []netcfg.Tap, err error) {
	n.locked(func() {
		for t := range n.taps {
			list = append(list, t)
		}
	})
	return list, nil
}

// use opens the taps of a VM, or closes them.
func (n *network) use(vm string, used bool) {
	n.locked(func() {
		for t, uid := range n.taps {
			if t.VM == vm {
				delete(n.taps, t)
				t.Used = used
				n.taps[t] = uid
			}
		}
	})
}

// vote knows what the test says.
type vote struct {
	mu    sync.Mutex // guards state
	state *cluster.State
}

func (v *vote) Watch(context.Context, uint64) (*cluster.State, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.state == nil {
		return nil, errors.New("no node service")
	}
	return v.state.Clone(), nil
}

func (v *vote) apply(t *testing.T, do cluster.Action) {
	t.Helper()
	v.mu.Lock()
	defer v.mu.Unlock()
	if _, err := cluster.Apply(v.state, cluster.Command{Do: do}); err != nil {
		t.Fatal(err)
	}
}

// newVote is the state of a pair with the VMs 1 and 2, of one and two cards, placed
// here, 3 without any, and 4 that is placed on the twin.
func newVote(t *testing.T) *vote {
	v := &vote{state: cluster.New(ident.UUID{1}, map[ident.Node]cluster.Node{
		self: {Name: "a", Kind: cluster.KindNode, Replica: ident.UUID{1}}, twin: {Name: "b", Kind: cluster.KindNode, Replica: ident.UUID{2}}})}
	for i, cards := range []int{1, 2, 0, 1} {
		name := fmt.Sprintf("vm%d", i+1)
		v.apply(t, &cluster.CreateGroup{Name: name, Preferred: self, Durability: cluster.Strict, Volumes: []cluster.NewVolume{{Name: "v", SizeBytes: 1 << 20}}})
		v.apply(t, &cluster.CreateVM{Name: name, Group: ident.Group(i + 1), CPUs: 1, MemoryMB: 64, Firmware: "bios", Run: true, Cards: &cards})
		v.apply(t, &cluster.PlaceVM{VM: ident.VM(i + 1), Node: []ident.Node{self, self, self, twin}[i]})
	}
	return v
}

// start runs the server, and returns the path of its socket.
func start(t *testing.T, v *vote, n tap.Network) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "tap") // short, for the socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "s")
	l, err := socket.Bind(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- tap.NewServer(self, v, n, slog.New(slog.DiscardHandler)).Run(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return path
}

func has(t *testing.T, c *tap.Client, want ...ident.VM) {
	t.Helper()
	if got, err := c.List(t.Context()); err != nil || !slices.Equal(got, want) {
		t.Errorf("List = %v, %v; want %v", got, err, want)
	}
}

func TestTheStateSaysHowManyTapsAVMHasAndWhose(t *testing.T) {
	n, v := &network{taps: map[netcfg.Tap]int{}}, newVote(t)
	c := tap.NewClient(start(t, v, n))
	for vm, want := range map[ident.VM]int{1: 1, 2: 2, 3: 0} {
		for range 2 {
			links, err := c.Plug(t.Context(), vm)
			if err != nil || len(links) != want {
				t.Errorf("Plug(%d) = %v, %v; want %d", vm, links, err, want)
			}
		}
	}
	for tp, uid := range n.taps {
		if user, _ := account.OfGuest(map[string]uint64{"1": 1, "2": 2}[tp.VM]); uid != int(user) {
			t.Errorf("%+v belongs to %d; want %d", tp, uid, user)
		}
	}
	has(t, c, 1, 2)

	one := 1
	v.apply(t, &cluster.UpdateVM{VM: 2, Cards: &one})
	if links, err := c.Plug(t.Context(), 2); err != nil || len(links) != 1 || len(n.taps) != 2 {
		t.Errorf("after a card was taken out: %v, %v, taps %v", links, err, n.taps)
	}
	for _, vm := range []ident.VM{2, 2, 7} { // also what is gone, or never was
		if err := c.Unplug(t.Context(), vm); err != nil {
			t.Errorf("Unplug(%d) = %v", vm, err)
		}
	}
	has(t, c, 1)
}

func TestMoreThanTheStateSaysIsRefused(t *testing.T) {
	n, v := &network{taps: map[netcfg.Tap]int{}}, newVote(t)
	c := tap.NewClient(start(t, v, n))
	for vm, want := range map[ident.VM]string{0: "no VM's number", 4: "placed on node", 5: "does not exist"} {
		if links, err := c.Plug(t.Context(), vm); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Plug(%d) = %v, %v; want %q", vm, links, err, want)
		}
	}
	v.mu.Lock()
	v.state = nil
	v.mu.Unlock()
	if _, err := c.Plug(t.Context(), 1); err == nil || !strings.Contains(err.Error(), "not known") {
		t.Errorf("without a voted state: %v", err)
	}
	if len(n.taps) != 0 {
		t.Errorf("taps %v", n.taps)
	}
	has(t, c)
}

func TestTheTapsOfALivingQEMUStay(t *testing.T) {
	n := &network{taps: map[netcfg.Tap]int{}}
	c := tap.NewClient(start(t, newVote(t), n))
	if _, err := c.Plug(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	n.use("2", true)
	c = tap.NewClient(start(t, newVote(t), n)) // another life of init
	if err := c.Unplug(t.Context(), 2); err == nil || !strings.Contains(err.Error(), "open") {
		t.Errorf("Unplug = %v; want it refused", err)
	}
	if len(n.taps) != 2 {
		t.Errorf("taps %v; want both there", n.taps)
	}
	n.use("2", false) // it died
	if err := c.Unplug(t.Context(), 2); err != nil || len(n.taps) != 0 {
		t.Errorf("Unplug = %v, taps %v", err, n.taps)
	}
	n.locked(func() { n.fail = errors.New("no memory") })
	if _, err := c.Plug(t.Context(), 2); err == nil || !strings.Contains(err.Error(), "no memory") {
		t.Errorf("Plug = %v; want why", err)
	}
}

// The socket's file keeps others away; should it not, the kernel tells who they are.
func TestOnlyTheVMServiceMayAsk(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can ask as somebody else")
	}
	nstest.Users(t)
	n := &network{taps: map[netcfg.Tap]int{}}
	path := start(t, newVote(t), n)
	if err := errors.Join(os.Chmod(path, 0o666), os.Chmod(filepath.Dir(path), 0o755)); err != nil {
		t.Fatal(err)
	}
	for user, want := range map[account.ID]bool{account.VM: true, account.Root: true, account.Console: false, account.Citizen: false, account.Node: false, 100001: false} {
		_, err := as(user, func(c *tap.Client) ([]string, error) { return c.Plug(t.Context(), 1) }, path)
		if (err == nil) != want {
			t.Errorf("user %d: %v; want it allowed: %v", user, err, want)
		}
	}
}

// as connects as a user: a connection is its thread's.
func as(user account.ID, do func(*tap.Client) ([]string, error), path string) (links []string, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: the thread ends with this goroutine
		fd, errDial := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if errDial != nil {
			err = errDial
			return
		}
		if _, _, e := unix.RawSyscall(unix.SYS_SETRESUID, uintptr(user), uintptr(user), uintptr(user)); e != 0 {
			err = e
			return
		}
		if err = unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err != nil {
			return
		}
		links, err = do(tap.Over(os.NewFile(uintptr(fd), "tap")))
	}()
	<-done
	return links, err
}
