package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
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
	leases   func() (map[string]string, error) // what DHCP has given on the lan: addresses, and to whom
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
			if w.leases, err = joinHost(ctx, s.AddHost("host", own), forwards); err != nil {
				return nil, err
			}
		}
	}
	return w, nil
}

// joinHost gives the host a network stack on the lan, and the lan a DHCP server, which
// gives nobody else the addresses of the nodes, of the service and of the host.
func joinHost(ctx context.Context, p *ether.Port, forwards map[string]string) (leases func() (map[string]string, error), err error) {
	taken := map[string]string{vmService: vmMAC, vmHost: gatewayMAC}
	for i := range names[:2] {
		taken[vmNode(i)] = cardMAC(names[i], 0)
	}
	vn, err := virtualnetwork.New(&types.Configuration{
		MTU: segmentMTU["lan"], Subnet: vmLan, GatewayIP: vmGateway, GatewayMacAddress: gatewayMAC,
		GatewayVirtualIPs: []string{vmHost}, NAT: map[string]string{vmHost: "127.0.0.1"}, Forwards: forwards, Protocol: types.QemuProtocol,
		DHCPStaticLeases: taken,
	})
	if err != nil {
		return nil, fmt.Errorf("host on the lan: %w", err)
	}
	here, there := net.Pipe()
	p.Attach(ctx, there)
	go func() { _ = vn.AcceptQemu(ctx, here) }() // ends with the daemon
	return func() (all map[string]string, err error) {
		w := httptest.NewRecorder() // the library tells nobody but HTTP clients
		vn.ServicesMux().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/leases", nil))
		if err := json.NewDecoder(w.Body).Decode(&all); err != nil {
			return nil, fmt.Errorf("leases of the lan: %w", err)
		}
		return all, nil
	}, nil
}

// lanCard is a card on the lan of a lab of virtual machines.
type lanCard struct {
	ether.Sighting
	Address string `json:"address,omitempty"` // that DHCP gave it
}

// lan lists the cards that spoke on the lan.
func (w *wiring) lan() ([]lanCard, error) {
	leases, err := w.leases()
	if err != nil {
		return nil, err
	}
	by := map[string]string{}
	for address, mac := range leases {
		by[mac] = address
	}
	list := []lanCard{}
	for _, s := range w.segments["lan"].Seen() {
		list = append(list, lanCard{s, by[s.MAC]})
	}
	return list, nil
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
