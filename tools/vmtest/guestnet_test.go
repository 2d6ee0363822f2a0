package vmtest

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"beffroi.dev/appliance/api"
	"beffroi.dev/pkg/quorum/cluster"
	"beffroi.dev/tools/histories/rig"
	"beffroi.dev/tools/serial"
	"beffroi.dev/tools/vmpair"
)

// card is a card that spoke on the lab's lan.
type card struct {
	MAC     string `json:"mac"`
	Port    string `json:"port"`  // the node whose cable it is behind
	Asked   uint64 `json:"asked"` // for an address, by DHCP
	Moved   uint64 `json:"moved"` // what its node said of where it is
	Address string `json:"address"`
}

// lan lists what the cards with an address said, by node.
func lan(t *testing.T, p *vmpair.Pair, mac string) map[string]card {
	t.Helper()
	out, err := p.Do("lan")
	if err != nil {
		t.Fatal(err)
	}
	var all []card
	if err := json.Unmarshal(out, &all); err != nil {
		t.Fatal(err)
	}
	by := map[string]card{}
	for _, c := range all {
		if c.MAC == mac {
			by[c.Port] = c
		}
	}
	return by
}

// asks waits until a card asks for an address through a node's cable, more often than
// before, and has one.
func asks(t *testing.T, p *vmpair.Pair, mac, node string, before uint64) card {
	t.Helper()
	for limit := time.Now().Add(quietBound); ; time.Sleep(500 * time.Millisecond) {
		seen := lan(t, p, mac)
		if c := seen[node]; c.Asked > before && c.Address != "" {
			return c
		}
		if time.Now().After(limit) {
			t.Fatalf("%s does not ask for an address through node %s; on the lan: %+v", mac, node, seen)
		}
	}
}

// netVM is a VM with an empty disk: its firmware looks for something to boot on the
// network.
type netVM struct {
	*service
	name, mac string
}

// vm is the VM as its pair sees it; asked of a node that lives.
func (v *netVM) vm(t *testing.T, of string) api.VM {
	t.Helper()
	node, err := v.API(of)
	if err != nil {
		t.Fatal(err)
	}
	var all []api.VM
	if err := node.Do(within(t, seenBound), "GET", "/vms", nil, &all); err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(all, func(m api.VM) bool { return m.Name == v.name })
	if i < 0 {
		t.Fatalf("the pair has no VM %s: %+v", v.name, all)
	}
	return all[i]
}

func create(t *testing.T, p *vmpair.Pair) *netVM {
	t.Helper()
	v := &netVM{service: &service{Pair: p}, name: "vide"}
	node, err := p.API("a")
	if err != nil {
		t.Fatal(err)
	}
	group := api.NewGroup{Name: v.name, Prefer: "a", Volumes: []cluster.NewVolume{{Name: "disk0", SizeBytes: 1 << 20}}}
	if err := node.Do(within(t, seenBound), "POST", "/groups", group, nil); err != nil {
		t.Fatal(err)
	}
	var made api.VM
	if err := node.Do(within(t, seenBound), "POST", "/vms", api.NewVM{Name: v.name, MemoryMB: 64, Run: true}, &made); err != nil {
		t.Fatal(err)
	}
	if len(made.NICs) != 1 {
		t.Fatalf("network cards %+v; want one, as nobody said how many", made.NICs)
	}
	v.mac = made.NICs[0].MAC
	return v
}

// taps are those of guests on a node: whether a QEMU has each open, then whose each is.
func taps(t *testing.T, sh *serial.Shell) string {
	t.Helper()
	out, err := sh.Must(within(t, seenBound), "cat /sys/class/net/t*-*/carrier /sys/class/net/t*-*/owner 2>/dev/null; true")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(strings.Fields(out), " ")
}

// TestGuestsNetwork follows a guest's network card: through tap, bridge and cable to
// the town's DHCP server, over the death of services and of its node, to its end.
func TestGuestsNetwork(t *testing.T) {
	long(t)
	p := pair(t)
	v := create(t, p)
	made := time.Now()
	first := asks(t, p, v.mac, "a", 0)
	t.Logf("the firmware of the guest on a asked for an address after %.1f s; %s has %s", time.Since(made).Seconds(), v.mac, first.Address)

	sh := v.shell(t, "a")
	tap := taps(t, sh)
	if want := fmt.Sprintf("1 %d", 100000+v.vm(t, "a").ID); tap != want {
		t.Errorf("taps of a: %q; want one, open, and whose: %q", tap, want)
	}
	qemu := one(t, sh, 0, "qemu-system-x86_64")
	old := one(t, sh, 0, "beffroi", "vm")
	if _, err := sh.Must(within(t, seenBound), fmt.Sprintf("kill -9 %d", old)); err != nil {
		t.Fatal(err)
	}
	one(t, sh, old, "beffroi", "vm")
	if now := taps(t, sh); now != tap {
		t.Errorf("taps after the vm service was killed: %q; want %q", now, tap)
	}
	init := one(t, sh, 0, "beffroi", "init")
	if err := sh.Send(fmt.Sprintf("kill -9 %d", init)); err != nil { // the console ends with it
		t.Fatal(err)
	}
	line, err := p.Line(within(t, seenBound), "a")
	if err != nil {
		t.Fatal(err)
	}
	if err := line.Hear(within(t, seenBound), "init has ended (signal killed)"); err != nil {
		t.Fatal(err)
	}
	if _, err := line.Home(within(t, seenBound)); err != nil {
		t.Fatal(err)
	}
	settled(t, p)
	sh = v.shell(t, "a")
	if now := taps(t, sh); now != tap || one(t, sh, 0, "qemu-system-x86_64") != qemu {
		t.Errorf("taps after init was killed: %q; want %q, and QEMU to live on", now, tap)
	}
	v.leave(t, sh)

	killed := time.Now()
	do(t, p, "kill", "a")
	second := asks(t, p, v.mac, "b", 0)
	if got := v.vm(t, "b"); second.Address != first.Address || second.Moved == 0 || got.Node != "b" || got.NICs[0].MAC != v.mac {
		t.Errorf("after the death of a: %+v, on the lan %+v; want %s on b with %s, and b to announce it", got, second, v.mac, first.Address)
	}
	t.Logf("a lost its power: the guest asked through b with the same address %s after %.1f s, and was given %s again", v.mac, time.Since(killed).Seconds(), second.Address)
	do(t, p, "start", "a")
	settled(t, p)

	end := v.vm(t, "b").Node
	node, err := p.API(end)
	if err != nil {
		t.Fatal(err)
	}
	if err := node.Do(within(t, seenBound), "POST", "/vms/"+v.name+"/off", nil, nil); err != nil {
		t.Fatal(err)
	}
	for _, n := range []string{end, rig.Twin(end)} {
		sh = v.shell(t, n)
		left := taps(t, sh)
		for limit := time.Now().Add(seenBound); left != "" && time.Now().Before(limit); left = taps(t, sh) {
			time.Sleep(time.Second)
		}
		if left != "" {
			t.Errorf("taps on %s after the guest was switched off: %q", n, left)
		}
		v.leave(t, sh)
	}
}
