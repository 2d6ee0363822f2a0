package pairing

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	"beffroi.dev/appliance/config"
	"beffroi.dev/appliance/seed"
	"beffroi.dev/pkg/host/netcfg"
	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/cluster"
	"beffroi.dev/pkg/transport"
)

// Survivor is what a node hands on to the machine that takes its twin's place.
type Survivor struct {
	Node    *config.Node
	Network netcfg.Config
	Release string
	// Token, Password and Rescue as they lie in its state folder; empty: it has none.
	Token, Password, Rescue string
}

// ReadSurvivor reads a founded node's state folder.
func ReadSurvivor(d config.Dir, release string) (*Survivor, error) {
	n, err := config.Load(d)
	if err != nil {
		return nil, err
	}
	s := &Survivor{Node: n, Release: release}
	b, err := os.ReadFile(seed.Network(d))
	if err == nil {
		err = json.Unmarshal(b, &s.Network)
	}
	if err != nil {
		return nil, fmt.Errorf("network configuration: %w", err)
	}
	s.Network = s.Network.WithDefaults()
	for path, to := range map[string]*string{
		d.Token(): &s.Token, filepath.Join(string(d), "admin-password"): &s.Password, filepath.Join(string(d), "rescue-password"): &s.Rescue,
	} {
		b, err := os.ReadFile(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("first secrets: %w", err)
		}
		*to = string(b)
	}
	return s, nil
}

// check refuses what cannot take the twin's place.
func (s *Survivor) check(fresh Party) error {
	switch {
	case fresh.About.Kind != cluster.KindNode:
		return fault(WrongKind)
	case fresh.About.Taken != nil:
		return fresh.About.Taken
	case fresh.About.Release != s.Release:
		return fault(OtherRelease, fresh.About.Release, "/", s.Release)
	case len(fresh.About.Fibres) < len(s.Network.Fibres) || len(fresh.About.Fibres) == 0:
		return fault(NoFibre)
	}
	for _, m := range s.Node.Members {
		if bytes.Equal(m.PublicKey, fresh.Key) || m.Replica == fresh.About.Replica {
			return fault(SameIdentity)
		}
	}
	return nil
}

// MakeReplacement writes what the new machine is handed, and what is to be voted: the
// twin's name, site and addresses under a fresh identity.
func (s *Survivor) MakeReplacement(fresh Party) (*Replacement, *Document, error) {
	if err := s.check(fresh); err != nil {
		return nil, nil, err
	}
	twin, ok := s.Node.Twin()
	if !ok {
		return nil, nil, fault(WrongKind)
	}
	id := ident.Node(0)
	for id == 0 || slices.ContainsFunc(s.Node.Members, func(m config.Member) bool { return m.ID == id }) {
		id = ident.NewNode() &^ (1 << 63) // below the witness's, as in a founding
	}
	r := &Replacement{
		Founding: ident.NewUUID(),
		Do:       cluster.ReplaceNode{Old: twin.ID, Node: id, PublicKey: fresh.Key, Replica: fresh.About.Replica},
		Member:   Contact{Name: twin.Name, PublicKey: fresh.Key, Addresses: fresh.Addresses},
	}
	d := &Document{Founding: r.Founding, Founder: s.Node.Me().PublicKey, Node: s.node(twin, r.Do), Token: s.Token, Password: s.Password, Rescue: s.Rescue}
	network, err := json.Marshal(s.network(twin, fresh.About))
	if err != nil {
		return nil, nil, fmt.Errorf("network of %s: %w", twin.Name, err)
	}
	d.Network = network
	return r, d, d.Validate(fresh.Key)
}

// node is the configuration of the machine that takes the twin's place.
func (s *Survivor) node(twin config.Member, do cluster.ReplaceNode) *config.Node {
	n := &config.Node{
		Version: config.Version, Pair: s.Node.Pair, Self: do.Node, Profile: s.Node.Profile, Joins: true,
		VoteListen: twin.VotePaths, DataListen: twin.DataPaths, Citizen: s.Node.Citizen, Console: s.Node.Console, Guests: s.Node.Guests,
	}
	n.Citizen.Listen, n.Console.Listen = moved(s.Node.Citizen.Listen, twin), moved(s.Node.Console.Listen, twin)
	for _, m := range s.Node.Members {
		switch m.ID {
		case twin.ID:
			m.ID, m.PublicKey, m.Replica = do.Node, do.PublicKey, do.Replica
			m.VotePaths, m.DataPaths = nil, nil
		case s.Node.Self:
			m.VotePaths, m.DataPaths = s.Node.VoteListen, s.Node.DataListen
			if m.Citizen == "" {
				m.Citizen = s.Node.Citizen.Listen
			}
		}
		n.Members = append(n.Members, m)
	}
	return n
}

// moved is where the twin listens, if this node listens there: at all addresses, or at
// the one that the twin has on the lan.
func moved(listen string, twin config.Member) string {
	host, port, err := net.SplitHostPort(listen)
	a, bad := netip.ParseAddr(host)
	if err != nil || bad == nil && a.IsUnspecified() {
		return listen
	}
	if lan, ok := lanOf(twin.VotePaths); ok {
		return net.JoinHostPort(lan.String(), port)
	}
	return listen
}

func lanOf(paths []transport.Path) (netip.Addr, bool) {
	for _, p := range paths {
		if p.Name == netcfg.RoleLan {
			return addressOf(p)
		}
	}
	return netip.Addr{}, false
}

func addressOf(p transport.Path) (netip.Addr, bool) {
	at, err := netip.ParseAddrPort(p.Addr)
	return at.Addr(), err == nil
}

// network is the twin's: what the new machine says of its cards and its lan, and the
// addresses by which the others know the twin.
func (s *Survivor) network(twin config.Member, about About) netcfg.Config {
	c := netcfg.Config{HostName: twin.Name, Lan: about.Lan, Service: s.Network.Service}
	c.Lan.Operators = s.Network.Lan.Operators // who may reach a console holds for both
	if lan, ok := lanOf(twin.VotePaths); ok && !slices.ContainsFunc(c.Lan.Addresses, func(p netip.Prefix) bool { return p.Addr() == lan }) {
		for _, ours := range s.Network.Lan.Addresses {
			if ours.Contains(lan) {
				c.Lan.Addresses = append(slices.Clone(c.Lan.Addresses), netip.PrefixFrom(lan, ours.Bits()))
				break
			}
		}
		if lan.Is6() && c.Lan.IPv6 == netcfg.IPv6Off {
			c.Lan.IPv6 = netcfg.IPv6Static // the pair's own address, and nothing else
		}
	}
	for i, ours := range s.Network.Fibres {
		for _, p := range twin.DataPaths {
			if at, ok := addressOf(p); ok && p.Name == ours.Name {
				c.Fibres = append(c.Fibres, netcfg.Fibre{Name: ours.Name, Port: about.Fibres[i].Port, Address: netip.PrefixFrom(at, ours.Address.Bits())})
			}
		}
	}
	return c
}
