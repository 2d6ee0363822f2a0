// Package nstest gives tests hosts of their own: network namespaces joined by
// virtual cables and switches.
//
// A Host is an empty network namespace, held open by the test and gone with it.
// Run executes a function on a thread that has entered the namespace; a socket
// opened there stays there, whoever uses it later, but a goroutine that the
// function starts does not. Main lets a package's tests make hosts without root; where
// even that is refused, tests that need one are skipped with the reason, or fail when
// BEFFROI_REQUIRE_TOOLS is set.
package nstest

import (
	"fmt"
	"net"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/mdlayher/packet"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Host is one network namespace.
type Host struct {
	Name string
	fd   int
}

// New makes a host whose loopback interface is up.
func New(t testing.TB, name string) *Host {
	t.Helper()
	h := &Host{Name: name, fd: -1}
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		done <- h.make()
	}()
	if err := <-done; err != nil {
		missing(t, err)
	}
	t.Cleanup(func() { _ = unix.Close(h.fd) })
	h.Do(t, func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		return netlink.LinkSetUp(lo)
	})
	return h
}

func (h *Host) make() error {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return err
	}
	fd, err := unix.Open(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	h.fd = fd
	return err
}

// Run executes f inside the host and returns its error.
func (h *Host) Run(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if err := unix.Setns(h.fd, unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("enter host %s: %w", h.Name, err)
			return
		}
		done <- f()
	}()
	return <-done
}

// Do executes f inside the host and ends the test if it fails.
func (h *Host) Do(t testing.TB, f func() error) {
	t.Helper()
	if err := h.Run(f); err != nil {
		t.Fatalf("host %s: %v", h.Name, err)
	}
}

// Cable joins a card of one host to a card of another; both ends are up. An
// addressed card gets its addresses by Address.
func Cable(t testing.TB, a *Host, cardA string, b *Host, cardB string) {
	t.Helper()
	a.Do(t, func() error {
		v := &netlink.Veth{LinkAttrs: netlink.NewLinkAttrs(), PeerName: cardB, PeerNamespace: netlink.NsFd(b.fd)}
		v.Name = cardA
		if err := netlink.LinkAdd(v); err != nil {
			return fmt.Errorf("cable %s to %s: %w", cardA, cardB, err)
		}
		return up(cardA)
	})
	b.Do(t, func() error { return up(cardB) })
}

func up(name string) error {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(l)
}

// Switch makes a host that joins the given cards in one network.
func Switch(t testing.TB, name string, ends ...End) *Host {
	t.Helper()
	s := New(t, name)
	s.Do(t, func() error {
		br := &netlink.Bridge{LinkAttrs: netlink.NewLinkAttrs()}
		br.Name = "br0"
		if err := netlink.LinkAdd(br); err != nil {
			return err
		}
		return netlink.LinkSetUp(br)
	})
	for i, e := range ends {
		port := fmt.Sprintf("p%d", i)
		Cable(t, e.Host, e.Card, s, port)
		s.Do(t, func() error {
			br, err := netlink.LinkByName("br0")
			if err != nil {
				return err
			}
			p, err := netlink.LinkByName(port)
			if err != nil {
				return err
			}
			return netlink.LinkSetMaster(p, br)
		})
	}
	return s
}

// End is a card of a host that a Switch joins.
type End struct {
	Host *Host
	Card string
}

// Address gives a card addresses, IPv6 ones at once, without a check for duplicates.
func (h *Host) Address(t testing.TB, card string, prefixes ...string) {
	t.Helper()
	h.Do(t, func() error {
		l, err := netlink.LinkByName(card)
		if err != nil {
			return err
		}
		for _, p := range prefixes {
			a, err := netlink.ParseAddr(p)
			if err != nil {
				return err
			}
			a.Flags = unix.IFA_F_NODAD
			if err := netlink.AddrReplace(l, a); err != nil {
				return fmt.Errorf("address %s: %w", p, err)
			}
		}
		return nil
	})
}

// MTU sets the largest packet of a card.
func (h *Host) MTU(t testing.TB, card string, mtu int) {
	t.Helper()
	h.Do(t, func() error {
		l, err := netlink.LinkByName(card)
		if err != nil {
			return err
		}
		return netlink.LinkSetMTU(l, mtu)
	})
}

// Eventually waits until check returns nil, and ends the test if that takes
// longer than the bound.
func Eventually(t testing.TB, bound time.Duration, check func() error) {
	t.Helper()
	var err error
	for end := time.Now().Add(bound); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if err = check(); err == nil {
			return
		}
	}
	t.Fatalf("not within %v: %v", bound, err)
}

// Down takes a card down, as a pulled plug does for the other end.
func (h *Host) Down(t testing.TB, card string) {
	t.Helper()
	h.Do(t, func() error {
		l, err := netlink.LinkByName(card)
		if err != nil {
			return err
		}
		return netlink.LinkSetDown(l)
	})
}

// Hear gives every frame that arrives at a card, until the test ends. Who does not
// listen misses some.
func (h *Host) Hear(t testing.TB, card string) <-chan []byte {
	t.Helper()
	var c *packet.Conn
	h.Do(t, func() error {
		i, err := net.InterfaceByName(card)
		if err != nil {
			return err
		}
		c, err = packet.Listen(i, packet.Raw, unix.ETH_P_ALL, nil)
		return err
	})
	heard := make(chan []byte, 256)
	go func() {
		for {
			b := make([]byte, 64<<10)
			n, _, err := c.ReadFrom(b)
			if err != nil {
				close(heard)
				return
			}
			select {
			case heard <- b[:n]:
			default:
			}
		}
	}()
	t.Cleanup(func() { _ = c.Close() })
	return heard
}

// Guest joins a card of one host to a tap of another that is there already, as a QEMU
// does: it opens the tap and carries frames both ways until the test ends.
func Guest(t testing.TB, node *Host, tap string, guest *Host, card string) {
	t.Helper()
	var ends [2]*os.File
	for i, end := range []End{{node, tap}, {guest, card}} {
		end.Host.Do(t, func() (err error) { ends[i], err = openTap(end.Card); return err })
	}
	guest.Do(t, func() error { return up(card) })
	var wg sync.WaitGroup
	for i, from := range ends {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for b := make([]byte, 64<<10); ; {
				n, err := from.Read(b)
				if err != nil {
					return
				}
				_, _ = ends[1-i].Write(b[:n]) // one that is not up drops it, as a cable does
			}
		}()
	}
	t.Cleanup(func() { _, _ = ends[0].Close(), ends[1].Close(); wg.Wait() })
}

// openTap opens a tap of this name, made if there is none.
func openTap(name string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open tap %s: %w", name, err)
	}
	r, err := unix.NewIfreq(name)
	if err == nil {
		r.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, r)
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("open tap %s: %w", name, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}
