package pairing

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"unicode"
	"unicode/utf8"

	"beffroi.dev/appliance/api"
	"beffroi.dev/appliance/config"
	"beffroi.dev/pkg/host/netcfg"
	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/cluster"
	"beffroi.dev/pkg/quorum/lease"
	"beffroi.dev/pkg/transport"
)

// Ports of a founded pair. Citizens find the service at the web's own port; a node
// hands them on to its twin at another one, so that it may listen there on all its
// addresses and does not mind when DHCP changes them.
const (
	servicePort = "80"
	citizenPort = "8080"
	consolePort = "8443"
)

// Request is what a person must decide.
type Request struct {
	Town    string       `json:"town"`
	Here    string       `json:"here"`  // site of the founder
	There   string       `json:"there"` // site of its twin
	Service netip.Prefix `json:"service"`
	Profile string       `json:"profile"` // of lease.Timing
}

// maxText bounds the town's name and those of the sites, characters.
const maxText = 60

// Validate gives the first fault, with the name of its field as detail.
func (r Request) Validate() error {
	bad := func(field string) error { return fault(BadRequest, field) }
	for _, f := range []struct{ name, text string }{{"town", r.Town}, {"here", r.Here}, {"there", r.There}} {
		if !utf8.ValidString(f.text) || strings.TrimSpace(f.text) == "" || utf8.RuneCountInString(f.text) > maxText || strings.ContainsFunc(f.text, unicode.IsControl) {
			return bad(f.name)
		}
	}
	if strings.EqualFold(r.Here, r.There) {
		return bad("sites")
	}
	s := netcfg.Config{Lan: netcfg.Lan{Port: "#0", Mode: netcfg.ModeDHCP}, Service: netcfg.Service{Address: r.Service, VirtualMAC: "02:be:ff:00:00:01"}}
	if !r.Service.IsValid() || s.Validate() != nil {
		return bad("service")
	}
	if _, err := lease.Profile(r.Profile); err != nil {
		return bad("profile")
	}
	return nil
}

// Party is one member as the founder knows it.
type Party struct {
	Key       ed25519.PublicKey
	About     About
	Addresses []string // where it is reached, host:port, best first
}

// Secrets are shown once.
type Secrets struct {
	Password string `json:"password"` // of the console's user admin
	Token    string `json:"token"`    // of the API
	Rescue   string `json:"rescue"`   // of the recovery shell
}

// check refuses what cannot become a pair.
func checkParties(founder, twin, witness Party) error {
	switch {
	case twin.Key.Equal(founder.Key), witness.Key.Equal(founder.Key), witness.Key.Equal(twin.Key), twin.About.Replica == founder.About.Replica:
		return fault(SameIdentity)
	case twin.About.Kind != cluster.KindNode, witness.About.Kind != cluster.KindWitness:
		return fault(WrongKind)
	case founder.About.Taken != nil:
		return founder.About.Taken
	case len(founder.About.Fibres) == 0 || len(twin.About.Fibres) == 0:
		return fault(NoFibre)
	case twin.About.Release != founder.About.Release:
		return fault(OtherRelease, twin.About.Release, "/", founder.About.Release)
	}
	for _, p := range []Party{twin, witness} {
		if p.About.Taken != nil {
			return p.About.Taken
		}
	}
	return nil
}

// MakePlan writes the documents: the founder's record with its own, and those of the
// twin and the witness, in the order of the record's members.
func MakePlan(r Request, founder, twin, witness Party) (*Record, []*Document, Secrets, error) {
	if err := errors.Join(r.Validate(), checkParties(founder, twin, witness)); err != nil {
		return nil, nil, Secrets{}, AsFault(err, BadRequest)
	}
	s := Secrets{Password: secret(4), Rescue: secret(3), Token: token()}
	hash, err := api.HashPassword(s.Rescue)
	if err != nil {
		return nil, nil, s, err
	}
	p := plan{Request: r, pair: ident.NewUUID(), parties: [3]Party{founder, twin, witness}, fibres: min(len(founder.About.Fibres), len(twin.About.Fibres))}
	for i := range p.ids { // of two voters the lower one dials: nobody has to reach into the nodes' lan
		p.ids[i] = ident.NewNode() &^ (1 << 63)
	}
	p.ids[2] |= 1 << 63
	rec := &Record{Founding: ident.NewUUID(), Members: []Contact{
		{Name: names[1], PublicKey: twin.Key, Addresses: twin.Addresses}, {Name: names[2], PublicKey: witness.Key, Addresses: witness.Addresses}}}
	var docs []*Document
	for i := range p.parties {
		d := &Document{Founding: rec.Founding, Founder: founder.Key, Node: p.node(i)}
		if i < 2 {
			d.Token, d.Password, d.Rescue = s.Token+"\n", s.Password+"\n", hash
			if d.Network, err = json.Marshal(p.network(i)); err != nil {
				return nil, nil, s, fmt.Errorf("network of %s: %w", names[i], err)
			}
		}
		if err := d.Validate(p.parties[i].Key); err != nil {
			return nil, nil, s, err
		}
		docs = append(docs, d)
	}
	rec.Mine = docs[0]
	return rec, docs[1:], s, nil
}

// names of the members, in the order of a plan's parties.
var names = [3]string{"a", "b", "witness"}

type plan struct {
	Request
	pair    ident.UUID
	ids     [3]ident.Node
	parties [3]Party
	fibres  int
}

// host is the pair's own address of a node on one of its networks: 0 the lan, then
// the fibres. It comes from the pair's identity (RFC 4193), so no town has it and no
// DHCP server changes it; whoever changes a lan address cuts nobody off.
func (p *plan) host(network, node int) netip.Prefix {
	sum := sha256.Sum256(p.pair[:])
	a := [16]byte{0: 0xfd, 7: byte(network), 15: byte(node + 1)}
	copy(a[1:6], sum[:])
	return netip.PrefixFrom(netip.AddrFrom16(a), 64)
}

func (p *plan) at(network, node int, port string) string {
	return net.JoinHostPort(p.host(network, node).Addr().String(), port)
}

// paths are the ways to a node, or where it listens: votes over the fibres and the
// lan, data over the fibres.
func (p *plan) paths(node int) (votes, data []transport.Path) {
	for f := 1; f <= p.fibres; f++ {
		name := p.parties[0].About.Fibres[f-1].Name
		votes = append(votes, transport.Path{Name: name, Addr: p.at(f, node, fmt.Sprint(7100+f))})
		data = append(data, transport.Path{Name: name, Addr: p.at(f, node, fmt.Sprint(7200+f))})
	}
	return append(votes, transport.Path{Name: netcfg.RoleLan, Addr: p.at(0, node, "7103")}), data
}

func (p *plan) node(i int) *config.Node {
	n := &config.Node{Version: config.Version, Pair: p.pair, Self: p.ids[i], Profile: p.Profile}
	sites := [3]string{p.Here, p.There, "témoin"}
	for j, party := range p.parties {
		m := config.Member{ID: p.ids[j], Name: names[j], Kind: party.About.Kind, Site: sites[j], PublicKey: party.Key}
		switch votes, data := p.paths(j); {
		case j == 2 && i != 2:
			m.VotePaths = []transport.Path{{Name: netcfg.RoleLan, Addr: party.Addresses[0]}}
		case i == 2 && j != 2:
			m.VotePaths = votes[len(votes)-1:]
		case i != j:
			m.VotePaths, m.DataPaths = votes, data
		}
		if j != 2 {
			m.Replica, m.Citizen = party.About.Replica, p.at(0, j, citizenPort)
		}
		n.Members = append(n.Members, m)
	}
	if i == 2 {
		n.VoteListen = []transport.Path{{Name: netcfg.RoleLan, Addr: p.parties[2].About.Address}}
		return n
	}
	n.VoteListen, n.DataListen = p.paths(i)
	n.Citizen = config.Citizen{Listen: "[::]:" + citizenPort, Service: net.JoinHostPort(p.Service.Addr().String(), servicePort), Town: p.Town}
	n.Console = config.Console{Listen: "[::]:" + consolePort}
	return n
}

func (p *plan) network(i int) netcfg.Config {
	sum := sha256.Sum256(p.pair[:])
	c := netcfg.Config{
		Lan: p.parties[i].About.Lan, HostName: names[i],
		Service: netcfg.Service{Address: p.Service, VirtualMAC: fmt.Sprintf("02:be:ff:%02x:%02x:%02x", sum[5], sum[6], sum[7])},
	}
	if c.Lan.IPv6 == netcfg.IPv6Off {
		c.Lan.IPv6 = netcfg.IPv6Static // the pair's own address, and nothing else
	}
	c.Lan.Addresses = append(append([]netip.Prefix(nil), c.Lan.Addresses...), p.host(0, i))
	for f := 1; f <= p.fibres; f++ {
		port := p.parties[i].About.Fibres[f-1]
		c.Fibres = append(c.Fibres, netcfg.Fibre{Name: p.parties[0].About.Fibres[f-1].Name, Port: port.Port, Address: p.host(f, i)})
	}
	return c
}

// secret makes a password that is easy to copy: groups of four characters.
func secret(groups int) string {
	var b strings.Builder
	for i := range groups {
		c := NewCode()
		if i > 0 {
			b.WriteByte('-')
		}
		b.WriteString(strings.ToLower(string(c[:4])))
	}
	return b.String()
}

func token() string {
	b := make([]byte, 20)
	_, _ = rand.Read(b)
	return hex.EncodeToString(b)
}
