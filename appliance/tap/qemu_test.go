package tap_test

import (
	"bytes"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"beffroi.dev/appliance/tap"
	"beffroi.dev/pkg/guest/qemu"
	"beffroi.dev/pkg/guest/qmp"
	"beffroi.dev/pkg/host/account"
	"beffroi.dev/pkg/host/netcfg"
	"beffroi.dev/pkg/host/netcfg/nstest"
)

// inHost is the network of a host of the test.
type inHost struct {
	host *nstest.Host
	net  *netcfg.Engine
}

func (h inHost) AddTap(vm string, index, uid int) (link string, err error) {
	err = h.host.Run(func() (err error) { link, err = h.net.AddTap(vm, index, uid); return err })
	return link, err
}

func (h inHost) RemoveTap(vm string, index int) error {
	return h.host.Run(func() error { return h.net.RemoveTap(vm, index) })
}

func (h inHost) Taps() (list []netcfg.Tap, err error) {
	err = h.host.Run(func() (err error) { list, err = h.net.Taps(); return err })
	return list, err
}

// guest starts QEMU on a host as the user of a VM, with nothing but a card.
func guest(t *testing.T, h *nstest.Host, vm uint64, link, mac string) (cmd *exec.Cmd, monitor string, words *bytes.Buffer) {
	t.Helper()
	user, err := account.OfGuest(vm)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "gt") // short, for the sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chown(dir, int(user), int(user)); err != nil {
		t.Fatal(err)
	}
	in := func(name string) string { return filepath.Join(dir, name) }
	args, err := qemu.Args(qemu.Spec{
		Name: "guest", UUID: "0b5e1f6e-7a3c-4d1e-9a77-0123456789ab", CPUs: 1, MemoryMB: 64, Firmware: qemu.BIOS, Accel: qemu.TCG,
		Cards:        []qemu.Card{{Link: link, MAC: mac}},
		SerialSocket: in("serial.sock"), SerialLog: in("serial.log"), QMPSocket: in("qmp.sock"),
	})
	if err != nil {
		t.Fatal(err)
	}
	words = &bytes.Buffer{}
	cmd = exec.Command("qemu-system-x86_64", args...)
	cmd.Stdout, cmd.Stderr = words, words
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(user), Gid: uint32(user), Groups: []uint32{uint32(account.Tap)}}}
	h.Do(t, cmd.Start)
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return cmd, in("qmp.sock"), words
}

// Frames of a guest, after its address and the switch's.
var (
	dhcp = []byte{0x08, 0x00} // the only IPv4 that a firmware without an address sends
	rarp = []byte{0x80, 0x35} // QEMU's announcement
)

func hears(t *testing.T, frames <-chan []byte, mac net.HardwareAddr, kind []byte, bound time.Duration) {
	t.Helper()
	late := time.After(bound)
	for {
		select {
		case f := <-frames:
			if len(f) > 14 && bytes.Equal(f[6:12], mac) && bytes.Equal(f[12:14], kind) {
				return
			}
		case <-late:
			t.Fatalf("no frame of kind %x of %s on the lan", kind, mac)
		}
	}
}

// QEMU, as a user without any right, opens the tap that init made for it; what its
// firmware says is on the lan, and the tap stays for as long as it lives.
func TestAGuestIsOnTheLan(t *testing.T) {
	nstest.Users(t)
	for _, need := range []string{"/usr/lib/ipxe/qemu/efi-virtio.rom", "/dev/net/tun"} {
		if _, err := os.Stat(need); err != nil {
			t.Skip(err)
		}
	}
	if _, err := exec.LookPath("qemu-system-x86_64"); err != nil {
		t.Skip(err)
	}
	node, far := nstest.New(t, "node"), nstest.New(t, "far")
	nstest.Cable(t, node, "eth0", far, "lan")
	e := netcfg.New(slog.New(slog.DiscardHandler), netcfg.Options{Virtual: true})
	node.Do(t, func() error {
		_, err := e.Apply(t.Context(), netcfg.Config{Lan: netcfg.Lan{Port: "eth0", Mode: "static", Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.10/24")}}})
		return err
	})
	v := newVote(t)
	c := tap.NewClient(start(t, v, inHost{node, e}))
	links, err := c.Plug(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	text := v.state.VMs[1].Cards[0].MAC
	mac, err := net.ParseMAC(text)
	if err != nil {
		t.Fatal(err)
	}

	other, _, words := guest(t, node, 2, links[0], text)
	if err := other.Wait(); err == nil || !strings.Contains(words.String(), "Operation not permitted") {
		t.Errorf("the QEMU of another VM: %v, %s; want it kept away from this tap", err, words)
	}

	heard := far.Hear(t, "lan")
	cmd, socket, words := guest(t, node, 1, links[0], text)
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(words)
		}
	})
	hears(t, heard, mac, dhcp, 2*time.Minute)
	m, err := qmp.Open(t.Context(), socket, qmp.Config{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if err := m.Announce(t.Context()); err != nil {
		t.Fatal(err)
	}
	hears(t, heard, mac, rarp, time.Minute)

	if err := c.Unplug(t.Context(), 1); err == nil {
		t.Error("the tap of a living QEMU was removed")
	}
	has(t, c, 1)
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if err := c.Unplug(t.Context(), 1); err != nil {
		t.Error(err)
	}
	has(t, c)
}
