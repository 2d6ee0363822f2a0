package pairing

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/net/ipv6"

	"beffroi.dev/pkg/quorum/cluster"
)

// Port is where members listen, TCP, and where beacons go, UDP.
const Port = 7100

// everybody is where beacons go, link by link (transient, RFC 4291).
var everybody = net.ParseIP("ff12::beff:1")

const (
	beaconEvery = time.Second
	goneAfter   = 6 * time.Second
	maxHeard    = 32
)

// Heard is a member whose beacon is heard.
type Heard struct {
	Beacon
	Addresses []netip.AddrPort
	at        time.Time
}

// hearing sends and hears beacons. It owns its sockets while run runs.
type hearing struct {
	log  *slog.Logger
	self func() Beacon
	deaf bool // it only sends: a witness
	mute bool // it only hears: a node that has a pair and looks for another machine

	mu  sync.Mutex // guards all
	all []*Heard
}

// run sends this member's beacon on every link, and hears others, until ctx ends. A
// machine that cannot (no network yet) tries again.
func (h *hearing) run(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := h.once(ctx); err != nil && ctx.Err() == nil {
			h.log.Debug("beacons", "cause", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(beaconEvery):
		}
	}
	return nil
}

func (h *hearing) once(ctx context.Context) error {
	port := fmt.Sprint(Port)
	if h.deaf {
		port = "0"
	}
	six, err := net.ListenPacket("udp6", "[::]:"+port)
	if err != nil {
		return err
	}
	defer six.Close()
	four, err := net.ListenPacket("udp4", "0.0.0.0:"+port)
	if err != nil {
		return err
	}
	defer four.Close()
	var readers sync.WaitGroup
	for _, c := range []net.PacketConn{six, four} {
		readers.Go(func() { h.listen(c) })
	}
	defer readers.Wait()
	defer four.Close() // ends its reader
	defer six.Close()
	joined := map[int]bool{}
	for ctx.Err() == nil {
		h.send(six, four, joined)
		select {
		case <-ctx.Done():
		case <-time.After(beaconEvery):
		}
	}
	return nil
}

func (h *hearing) send(six, four net.PacketConn, joined map[int]bool) {
	links, err := net.Interfaces()
	if err != nil {
		return
	}
	b := h.self().Append(nil)
	for _, l := range links {
		if l.Flags&net.FlagUp == 0 || l.Flags&net.FlagMulticast == 0 {
			continue
		}
		if !joined[l.Index] && ipv6.NewPacketConn(six).JoinGroup(&l, &net.UDPAddr{IP: everybody}) == nil {
			joined[l.Index] = true
		}
		if h.mute {
			continue
		}
		_, _ = six.WriteTo(b, &net.UDPAddr{IP: everybody, Port: Port, Zone: l.Name}) // a lost one is followed by others
		addresses, _ := l.Addrs()
		for _, a := range addresses {
			if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && l.Flags&net.FlagBroadcast != 0 {
				_, _ = four.WriteTo(b, &net.UDPAddr{IP: broadcast(n), Port: Port})
			}
		}
	}
}

// broadcast is the last address of a network.
func broadcast(n *net.IPNet) net.IP {
	ip := slices.Clone(n.IP.To4())
	for i, m := range n.Mask[len(n.Mask)-4:] {
		ip[i] |= ^m
	}
	return ip
}

func (h *hearing) listen(c net.PacketConn) {
	b := make([]byte, 256)
	for {
		n, from, err := c.ReadFrom(b)
		if err != nil {
			return
		}
		if beacon, ok := ParseBeacon(b[:n]); ok {
			if u, ok := from.(*net.UDPAddr); ok {
				h.hear(beacon, u.AddrPort().Addr().Unmap(), time.Now())
			}
		}
	}
}

func (h *hearing) hear(b Beacon, from netip.Addr, now time.Time) {
	if b.Who == h.self().Who || stranded(from) {
		return
	}
	at := netip.AddrPortFrom(from, b.Port)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all = slices.DeleteFunc(h.all, func(o *Heard) bool { return now.Sub(o.at) > goneAfter })
	i := slices.IndexFunc(h.all, func(o *Heard) bool { return o.Who == b.Who })
	if i < 0 {
		if len(h.all) == maxHeard {
			return
		}
		h.all = append(h.all, &Heard{})
		i = len(h.all) - 1
	}
	o := h.all[i]
	if o.Tag != b.Tag || o.Port != b.Port { // it has started again
		o.Addresses = nil
	}
	if o.Beacon, o.at = b, now; !slices.Contains(o.Addresses, at) && len(o.Addresses) < 8 {
		o.Addresses = append(o.Addresses, at)
		slices.SortStableFunc(o.Addresses, func(x, y netip.AddrPort) int { return cmp.Compare(rank(b.Kind, x), rank(b.Kind, y)) })
	}
}

// stranded tells an address that answers nobody: a member whose link has just come up
// may not use its link-local one yet, and its beacon has that of a network of its own,
// to which no other member has a way. The next beacon, a second later, has the right one.
func stranded(a netip.Addr) bool { return a.Is6() && !a.IsLinkLocalUnicast() }

// rank orders the addresses of a member: a node keeps its link-local ones for ever;
// a witness must be found from both sites for years, so what is routed comes first.
func rank(k cluster.Kind, a netip.AddrPort) int {
	local := a.Addr().IsLinkLocalUnicast()
	if local == (k == cluster.KindNode) {
		return 0
	}
	return 1
}

// list is who was heard lately.
func (h *hearing) list() []Heard {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []Heard
	for _, o := range h.all {
		if time.Since(o.at) <= goneAfter {
			c := *o
			c.Addresses = slices.Clone(o.Addresses)
			out = append(out, c)
		}
	}
	return out
}
