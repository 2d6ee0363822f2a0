package main

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"time"

	"github.com/containers/gvisor-tap-vsock/pkg/types"
	"github.com/containers/gvisor-tap-vsock/pkg/virtualnetwork"

	"beffroi.dev/tools/lab/ether"
)

// segments are the cables of a node, in the order of its cards.
var segments = []string{"lan", "fibre1", "fibre2"}

// segmentMTU is the largest packet of each.
var segmentMTU = map[string]int{"lan": 1500, "fibre1": 9000, "fibre2": 9000}

// wiring is the network of a lab of virtual machines: three segments, and the host
// as one more machine on the lan.
type wiring struct {
	segments map[string]*ether.Segment
	ports    map[string]map[string]*ether.Port // by the card's own segment, and node
}

// wire lays the cables and brings the host onto the lan.
func wire(ctx context.Context, lab Lab, forwards map[string]string) (*wiring, error) {
	w := &wiring{segments: map[string]*ether.Segment{}, ports: map[string]map[string]*ether.Port{}}
	for _, segment := range segments {
		s := ether.NewSegment()
		w.segments[segment] = s
		w.ports[segment] = map[string]*ether.Port{}
		for _, m := range lab.Nodes {
			if m.Mode != "vm" {
				continue
			}
			p := s.Add(m.Name)
			w.ports[segment][m.Name] = p
			if err := p.Listen(ctx, filepath.Join(m.Dir, segment+".sock")); err != nil {
				return nil, err
			}
		}
		if segment == "lan" {
			own, err := net.ParseMAC(gatewayMAC)
			if err != nil {
				return nil, err
			}
			if err := joinHost(ctx, s.AddHost("host", own), forwards); err != nil {
				return nil, err
			}
		}
	}
	return w, nil
}

// joinHost gives the host a network stack on the lan.
func joinHost(ctx context.Context, p *ether.Port, forwards map[string]string) error {
	vn, err := virtualnetwork.New(&types.Configuration{
		MTU: segmentMTU["lan"], Subnet: vmLan, GatewayIP: vmGateway, GatewayMacAddress: gatewayMAC,
		GatewayVirtualIPs: []string{vmHost}, NAT: map[string]string{vmHost: "127.0.0.1"}, Forwards: forwards, Protocol: types.QemuProtocol,
	})
	if err != nil {
		return fmt.Errorf("host on the lan: %w", err)
	}
	here, there := net.Pipe()
	p.Attach(ctx, there)
	go func() { _ = vn.AcceptQemu(ctx, here) }() // ends with the daemon
	return nil
}

// power silences a node on all its cables, or wakes it.
func (w *wiring) power(node string, on bool) {
	for _, s := range w.ports {
		if p := s[node]; p != nil {
			p.Power(on)
		}
	}
}

// plug puts the cable of a node's card into a segment: its own, or a wrong one.
func (w *wiring) plug(node, card, segment string) error {
	p, s := w.ports[card][node], w.segments[segment]
	if p == nil || s == nil {
		return fmt.Errorf("plug: node %q, card %q into %q: use a or b, and lan, fibre1 or fibre2", node, card, segment)
	}
	p.Move(s)
	return nil
}

// set changes the ways of a link that the cables carry; those of the witness are
// the fabric's.
func (w *wiring) set(ways []way, change func(*shape)) {
	for _, y := range ways {
		segment, node, inward := y.link, y.from, false
		if len(y.link) == len("lan-a") && y.link[:4] == "lan-" {
			segment, node = "lan", y.link[4:]
			inward = y.from == ""
		}
		p := w.ports[segment][node]
		if p == nil {
			continue
		}
		p.Set(func(in, out *ether.Shape) {
			dir := in
			if inward {
				dir = out
			}
			s := shape{Cut: dir.Cut, Delay: dir.Delay, Loss: dir.Loss}
			change(&s)
			*dir = ether.Shape{Cut: s.Cut, Delay: s.Delay, Loss: s.Loss}
		})
	}
}

// waitSocket waits until somebody listens on a socket.
func waitSocket(path string) error {
	var err error
	for limit := time.Now().Add(10 * time.Second); time.Now().Before(limit); time.Sleep(10 * time.Millisecond) {
		var c net.Conn
		if c, err = net.Dial("unix", path); err == nil {
			return c.Close()
		}
	}
	return err
}
