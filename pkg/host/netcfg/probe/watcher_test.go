package probe_test

import (
	"fmt"
	"io"
	"log/slog"
	"slices"
	"testing"
	"time"

	"beffroi.dev/pkg/host/netcfg"
	"beffroi.dev/pkg/host/netcfg/nstest"
	"beffroi.dev/pkg/host/netcfg/probe"
	"beffroi.dev/pkg/task"
)

// watch probes all cards of a host, each with the role of its name.
func watch(t *testing.T, g *task.Group, h *nstest.Host, node uint64, mtu int) *probe.Watcher {
	t.Helper()
	cards := func() (c []netcfg.Card, err error) {
		err = h.Run(func() error { c, err = netcfg.Cards(true); return err })
		return c, err
	}
	list, err := cards()
	if err != nil {
		t.Fatal(err)
	}
	cfg := probe.Config{Pair: []byte("0123456789abcdef"), Node: node, Interval: 20 * time.Millisecond, Cards: cards,
		Open: func(card string) (c io.ReadWriteCloser, err error) {
			err = h.Run(func() error { c, err = probe.Raw(card); return err })
			return c, err
		}}
	for _, c := range list {
		p := probe.Port{Card: c.Name, MAC: c.MAC, Role: probe.RoleOf(c.Name)}
		if p.Role == probe.Fibre1 || p.Role == probe.Fibre2 {
			p.MTU = mtu
			h.MTU(t, c.Name, mtu)
		}
		cfg.Ports = append(cfg.Ports, p)
	}
	w, err := probe.New(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	g.Go("watch "+h.Name, w.Run)
	return w
}

// sees waits until a port's report satisfies the check.
func sees(t *testing.T, w *probe.Watcher, role string, ok func(probe.Report) bool) {
	t.Helper()
	nstest.Eventually(t, time.Second, func() error {
		reports, err := w.Report()
		if err != nil {
			return err
		}
		i := slices.IndexFunc(reports, func(r probe.Report) bool { return r.Role == role })
		if i < 0 || !ok(reports[i]) {
			return fmt.Errorf("%s: %+v", role, reports)
		}
		return nil
	})
}

func faulty(k probe.Kind, with string) func(probe.Report) bool {
	return func(r probe.Report) bool {
		return r.CrossedWith == with && slices.ContainsFunc(r.Faults, func(f probe.Fault) bool { return f.Kind == k })
	}
}

func group(t *testing.T) *task.Group {
	g := task.New(t.Context())
	t.Cleanup(func() { _ = g.Stop(2 * time.Second) })
	return g
}

func TestRightCablesAreVerifiedAndACutIsSeen(t *testing.T) {
	a, b := nstest.New(t, "a"), nstest.New(t, "b")
	nstest.Cable(t, a, "fibre1", b, "fibre1")
	nstest.Cable(t, a, "fibre2", b, "fibre2")
	g := group(t)
	wa, wb := watch(t, g, a, 1, 9000), watch(t, g, b, 2, 9000)
	good := func(peer uint64) func(probe.Report) bool {
		return func(r probe.Report) bool { return r.Carrier && r.Peer == peer && r.MTUVerified && len(r.Faults) == 0 }
	}
	for _, f := range []string{"fibre1", "fibre2"} {
		sees(t, wa, f, good(2))
		sees(t, wb, f, good(1))
	}
	b.Down(t, "fibre1")
	sees(t, wa, "fibre1", faulty(probe.NoCarrier, ""))
	sees(t, wa, "fibre2", good(2))
}

func TestCrossedFibresAreDetected(t *testing.T) {
	a, b := nstest.New(t, "a"), nstest.New(t, "b")
	nstest.Cable(t, a, "fibre1", b, "fibre2")
	nstest.Cable(t, a, "fibre2", b, "fibre1")
	g := group(t)
	wa, wb := watch(t, g, a, 1, 9000), watch(t, g, b, 2, 9000)
	sees(t, wa, "fibre1", faulty(probe.Crossed, "fibre2"))
	sees(t, wb, "fibre1", faulty(probe.Crossed, "fibre2"))
}

func TestAFibreInTheTownsSwitchIsDetected(t *testing.T) {
	a, b := nstest.New(t, "a"), nstest.New(t, "b")
	nstest.Switch(t, "switch", nstest.End{Host: a, Card: "eth0"}, nstest.End{Host: b, Card: "lan"}, nstest.End{Host: a, Card: "fibre1"})
	a.Do(t, func() error { // the lan card is a member of the bridge, as on a node
		_, err := netcfg.New(slog.New(slog.DiscardHandler), netcfg.Options{Virtual: true}).Apply(t.Context(), netcfg.Config{Lan: netcfg.Lan{Port: "eth0", Mode: "dhcp"}})
		return err
	})
	g := group(t)
	wa, wb := watch(t, g, a, 1, 1500), watch(t, g, b, 2, 1500)
	sees(t, wa, "fibre1", faulty(probe.OnLan, "lan"))
	sees(t, wb, "lan", faulty(probe.OnLan, "fibre1"))
	sees(t, wa, "none", func(r probe.Report) bool { return r.CrossedWith == "fibre1" }) // heard on a bridge's card too
}

func TestAFibreInACardWithoutARoleIsFound(t *testing.T) {
	a, b := nstest.New(t, "a"), nstest.New(t, "b")
	nstest.Cable(t, a, "spare", b, "fibre1")
	g := group(t)
	wa, wb := watch(t, g, a, 1, 1500), watch(t, g, b, 2, 1500)
	sees(t, wa, "none", faulty(probe.WrongPort, "fibre1"))
	sees(t, wb, "fibre1", faulty(probe.FarPort, ""))
	for _, tc := range []struct {
		node uint64
		w    *probe.Watcher
		want string
	}{{1, wa, "spare"}, {2, wb, ""}} {
		reports, err := tc.w.Report()
		if got := probe.Found(tc.node, reports); err != nil || got["fibre1"] != tc.want {
			t.Errorf("node %d: Found = %v, %v; want fibre1 in %q", tc.node, got, err, tc.want)
		}
	}
}

func TestJumboFramesDoNotPassAnOrdinaryLink(t *testing.T) {
	a, b := nstest.New(t, "a"), nstest.New(t, "b")
	s := nstest.Switch(t, "converter", nstest.End{Host: a, Card: "fibre1"}, nstest.End{Host: b, Card: "fibre1"})
	s.MTU(t, "p0", 1500)
	g := group(t)
	wa, wb := watch(t, g, a, 1, 9000), watch(t, g, b, 2, 9000)
	for _, w := range []*probe.Watcher{wa, wb} {
		sees(t, w, "fibre1", func(r probe.Report) bool { return !r.MTUVerified && r.Peer != 0 && faulty(probe.MTUTooLong, "")(r) })
	}
	for _, p := range []string{"br0", "p0", "p1"} {
		s.MTU(t, p, 9000)
	}
	sees(t, wa, "fibre1", func(r probe.Report) bool { return r.MTUVerified && len(r.Faults) == 0 })
}
