// Package nstest gives tests hosts of their own: network namespaces joined by
// virtual cables and switches.
//
// A Host is an empty network namespace, held open by the test and gone with it.
// Run executes a function on a thread that has entered the namespace; a socket
// opened there stays there, whoever uses it later, but a goroutine that the
// function starts does not. Tests that need a Host are skipped where they may not
// make one, with the reason.
package nstest

import (
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"

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
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	h := &Host{Name: name, fd: -1}
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		done <- h.make()
	}()
	if err := <-done; err != nil {
		t.Skipf("no network namespace can be made here: %v", err)
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
