package boot

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"beffroi.dev/appliance/config"
	"beffroi.dev/appliance/pairing"
	"beffroi.dev/appliance/seed"
	"beffroi.dev/pkg/host/netcfg"
	"beffroi.dev/pkg/host/netcfg/firewall"
	"beffroi.dev/pkg/host/netcfg/serviceaddr"
	"beffroi.dev/pkg/quorum/cluster"
)

// LoadNetwork reads the network's configuration of a state folder. A folder
// without one gives os.ErrNotExist: a node that is a process of somebody's machine.
func LoadNetwork(d config.Dir) (netcfg.Config, error) {
	var c netcfg.Config
	b, err := os.ReadFile(seed.Network(d))
	if err != nil {
		return c, fmt.Errorf("network configuration: %w", err)
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&c); err != nil {
		return c, fmt.Errorf("network configuration: %w", err)
	}
	c = c.WithDefaults()
	if err := c.Validate(); err != nil {
		return c, fmt.Errorf("network configuration: %w", err)
	}
	return c, nil
}

// network brings ports and addresses up. A service address that an earlier life
// left behind goes first: who holds it is decided anew.
func (s *system) network(ctx context.Context) (string, error) {
	cfg, err := LoadNetwork(s.dir)
	if err != nil {
		return "", err
	}
	s.lan.drop()
	if err := serviceaddr.Stale(); err != nil {
		return "", err
	}
	// Walls first: no port is open to anybody who has no business there.
	if err := firewall.Install(s.walls(cfg)); err != nil {
		return "", err
	}
	st, err := s.net.Apply(ctx, cfg)
	if err != nil {
		return "", err
	}
	note, err := usable(st, s.knownLan())
	if err != nil {
		return "", err
	}
	s.rememberLan(st)
	if cfg.Lan.Mode == netcfg.ModeDHCP {
		if err := s.lease(cfg); err != nil {
			return "", err
		}
	}
	s.probeCables()
	return note, nil
}

// reroute has answers of the service address leave by the lan's gateway of now.
func (s *system) reroute() {
	if h := s.holder.Load(); h != nil {
		if err := h.Refresh(); err != nil {
			s.log.Error("answers to citizens of other networks may leave by the wrong gateway", "cause", err)
		}
	}
}

// lanCard is the file that remembers the MAC of the lan's card, as it was when no role
// lacked its own.
func (s *system) lanCard() string { return filepath.Join(string(s.dir), "lan-card") }

func (s *system) knownLan() string {
	b, _ := os.ReadFile(s.lanCard()) // nothing is known then
	return strings.TrimSpace(string(b))
}

// rememberLan keeps the lan's card of a network that is whole.
func (s *system) rememberLan(st netcfg.Status) {
	mac := st.Roles[netcfg.RoleLan].MAC.String()
	if len(st.Faults) > 0 || mac == s.knownLan() {
		return
	}
	if err := seed.WriteWhole(s.lanCard(), []byte(mac+"\n")); err != nil {
		s.log.Warn("which card the lan has is not remembered", "cause", err)
	}
}

// errOtherLan is a node whose cards have moved up: roles go by place when they are given so.
var errOtherLan = errors.New("a card is missing, and the lan would get another one than at the last boot with all cards")

// usable says which roles have their cards, and which have none and why. A fibre that
// lacks its card is no reason to go without the other networks: the alarm is that of a
// cable (see cables), and a card that appears later is used then. But a node must not lead
// that the citizens cannot reach: the lan needs its card, and the one that it had (known;
// empty when nothing is remembered).
func usable(st netcfg.Status, known string) (note string, err error) {
	var notes []string
	var faults []error
	for role, card := range st.Roles {
		notes = append(notes, fmt.Sprintf("%s %s", role, card.Name))
	}
	slices.Sort(notes)
	for _, f := range st.Faults {
		faults = append(faults, f)
		notes = append(notes, "without a card: "+f.Error())
	}
	lan, ok := st.Roles[netcfg.RoleLan]
	if len(faults) > 0 && ok && lan.MAC.String() != known {
		faults = append(faults, errOtherLan)
		ok = false
	}
	if !ok {
		return "", errors.Join(faults...)
	}
	return strings.Join(notes, ", "), nil
}

// walls is what the firewall must know: who may reach what.
func (s *system) walls(cfg netcfg.Config) firewall.Config {
	w := firewall.Config{Lan: cfg.LanLink(), Service: serviceaddr.LinkName}
	for _, a := range []netip.Prefix{cfg.Service.Address, cfg.Service.Address6} {
		if a.IsValid() {
			w.Addresses = append(w.Addresses, a.Addr())
		}
	}
	cards, _ := netcfg.Cards(false) // Apply tells what is wrong with them
	roles, _ := netcfg.Assign(cards, cfg)
	for _, f := range cfg.Fibres {
		if card, ok := roles[f.Name]; ok {
			w.Fibres = append(w.Fibres, firewall.Fibre{Link: card.Name, Address: f.Address})
		}
	}
	if s.looking.Load() {
		w.Pairing = pairing.Port
	}
	w.LanCard, w.Guests, w.Operators = roles[netcfg.RoleLan].Name, cluster.CardPrefix(s.node.Pair), cfg.Lan.Operators
	w.Citizens = append(port(nil, s.node.Citizen.Listen), port(nil, s.node.Citizen.Service)...)
	slices.Sort(w.Citizens)
	w.Citizens = slices.Compact(w.Citizens)
	w.Console = port(nil, s.node.Console.Listen)
	for _, l := range s.node.VoteListen {
		if l.Name == netcfg.RoleLan {
			w.Votes = port(w.Votes, l.Addr)
		} else {
			w.Data = port(w.Data, l.Addr)
		}
	}
	for _, l := range s.node.DataListen {
		w.Data = port(w.Data, l.Addr)
	}
	return w
}

// port adds the port of host:port to a list.
func port(list []uint16, addr string) []uint16 {
	_, text, err := net.SplitHostPort(addr)
	if err != nil {
		return list
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n == 0 {
		return list
	}
	return append(list, uint16(n))
}
