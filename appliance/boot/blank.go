package boot

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"beffroi.dev/appliance/config"
	"beffroi.dev/appliance/control"
	"beffroi.dev/appliance/pairing"
	"beffroi.dev/appliance/seed"
	"beffroi.dev/pkg/block/seglog"
	"beffroi.dev/pkg/disk"
	"beffroi.dev/pkg/host/netcfg"
	"beffroi.dev/pkg/host/netcfg/firewall"
	"beffroi.dev/pkg/host/netcfg/serviceaddr"
	"beffroi.dev/pkg/quorum/cluster"
	"beffroi.dev/pkg/task"
	"beffroi.dev/pkg/transport"
)

// seedEvery is how often a blank node looks for a seed while it waits for a pair.
const seedEvery = 5 * time.Second

// blankHost is the name of a node that has none.
const blankHost = "beffroi"

// blankNetwork is the network of a node without a pair: the lan as a person has set
// it at the console, or by DHCP; and the fibres, so that the twin is heard there.
func (s *system) blankNetwork() (netcfg.Config, error) {
	cards, err := netcfg.Cards(false)
	if err != nil {
		return netcfg.Config{}, err
	}
	cfg := netcfg.Config{HostName: blankHost, Lan: netcfg.Lan{Mode: netcfg.ModeDHCP, IPv6: netcfg.IPv6Auto}}
	salt := sha256.Sum256([]byte(s.dir.Key()))
	if key, err := os.ReadFile(s.dir.Key()); err == nil {
		salt = sha256.Sum256(key)
	}
	for i, role := range s.board.Ports {
		port := netcfg.Port(fmt.Sprintf("#%d", i))
		switch {
		case role == netcfg.RoleLan:
			cfg.Lan.Port = port
		case i < len(cards):
			a := [16]byte{0: 0xfd, 6: 0xff, 7: byte(i), 15: 1} // of this node alone; the twin is met at its link-local one
			copy(a[1:6], salt[:])
			cfg.Fibres = append(cfg.Fibres, netcfg.Fibre{Name: role, Port: port, Address: netip.PrefixFrom(netip.AddrFrom16(a), 64)})
		}
	}
	if saved, err := LoadNetwork(s.dir); err == nil {
		cfg.Lan = saved.Lan
	} else if !errors.Is(err, os.ErrNotExist) {
		s.log.Error("the lan that was set at the console cannot be read; it is taken by DHCP", "cause", err)
	}
	return cfg.WithDefaults(), nil
}

// blankWalls open nothing but the pairing.
func (s *system) blankWalls(cfg netcfg.Config) firewall.Config {
	w := firewall.Config{Lan: cfg.LanLink(), Service: serviceaddr.LinkName, Citizens: []uint16{}, Pairing: pairing.Port}
	cards, _ := netcfg.Cards(false) // Apply tells what is wrong with them
	roles, _ := netcfg.Assign(cards, cfg)
	for _, f := range cfg.Fibres {
		if card, ok := roles[f.Name]; ok {
			w.Fibres = append(w.Fibres, firewall.Fibre{Link: card.Name, Address: f.Address})
		}
	}
	return w
}

// found waits until this node belongs to a pair: by its console, by another node's,
// or by a seed. The network is up meanwhile, behind its walls.
func (s *system) found(ctx context.Context) error {
	if err := s.newEngine(); err != nil {
		return err
	}
	if err := unix.Sethostname([]byte(blankHost)); err != nil {
		return fmt.Errorf("host name: %w", err)
	}
	cfg, err := s.blankNetwork()
	if err != nil {
		return err
	}
	if err := firewall.Install(s.blankWalls(cfg)); err != nil {
		return err
	}
	st, err := s.net.Apply(ctx, cfg)
	if err != nil {
		return err
	}
	for _, f := range st.Faults {
		if f.Role == netcfg.RoleLan { // without it nobody can be met
			return f
		}
	}
	if err := s.lease(cfg); err != nil {
		return err
	}
	s.feeder.within(untold) // a person comes
	defer s.feeder.within(disks)
	tasks := task.New(ctx)
	done := make(chan error, 1)
	tasks.Go("pairing", func(ctx context.Context) error { done <- s.pairing.Load().Run(ctx); return nil })
	for {
		select {
		case err := <-done:
			return errors.Join(err, tasks.Stop(stopBound))
		case <-time.After(seedEvery):
			if err := s.takeSeed(); !errors.Is(err, seed.ErrNone) {
				return errors.Join(err, tasks.Stop(stopBound))
			}
		}
	}
}

// newEngine makes this node's part in a founding.
func (s *system) newEngine() error {
	if s.pairing.Load() != nil {
		return nil
	}
	var taken *pairing.Fault
	if !s.paired() { // else it is this node's own
		taken = storeTaken(s.store.Path)
	}
	e, err := pairing.New(pairing.Config{
		Dir: s.dir, Kind: cluster.KindNode, Release: s.release.Version, Store: s.store.Path,
		About: func(a *pairing.About) {
			a.Taken = taken
			if cfg, err := s.blankNetwork(); err == nil {
				a.Lan = cfg.Lan
				for _, f := range cfg.Fibres {
					a.Fibres = append(a.Fibres, pairing.FibrePort{Name: f.Name, Port: f.Port})
				}
			}
		},
	}, s.log)
	if err == nil {
		s.pairing.Store(e)
	}
	return err
}

// storeTaken says why a store cannot be used for a new pair.
func storeTaken(path string) *pairing.Fault {
	f, err := disk.OpenFile(path)
	if err != nil {
		return &pairing.Fault{Reason: pairing.Disk, Detail: err.Error()}
	}
	defer f.Close()
	switch id, err := seglog.ReadIdentity(f); {
	case errors.Is(err, seglog.ErrBlank):
		return nil
	case err != nil:
		return &pairing.Fault{Reason: pairing.StoreTaken, Detail: err.Error()}
	default:
		return &pairing.Fault{Reason: pairing.StoreTaken, Detail: "pair " + id.Pair.String()}
	}
}

// erase makes a node without a pair as new: its store is blank, and its identity
// another one. It reboots then.
func (s *system) erase(e *pairing.Engine) error {
	if e.Status().Act.Working {
		return errNotNow
	}
	s.log.Warn("the console asks to erase this node; it belongs to no pair")
	f, err := os.OpenFile(s.store.Path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(make([]byte, seglog.HeadBytes), 0)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	entries, err := os.ReadDir(string(s.dir))
	if err != nil {
		return err
	}
	for _, entry := range entries {
		path := filepath.Join(string(s.dir), entry.Name())
		if path == s.dir.Run() || path == seed.Network(s.dir) { // its lan has nothing to do with whose it is
			continue
		}
		if err := os.RemoveAll(path); err != nil {
			return err
		}
	}
	unix.Sync()
	return unix.Kill(os.Getpid(), unix.SIGUSR1)
}

// finishFounding goes on, beside the services, with what a founding has left: the
// members that must still be told, and the citizen service's group.
func (s *system) finishFounding() {
	s.finishReplacement()
	if !pairing.Unfinished(s.dir) {
		return
	}
	if err := s.newEngine(); err != nil { // an init that was started again has none
		s.log.Error("what the founding has left cannot be read", "cause", err)
		return
	}
	e, ctl := s.pairing.Load(), control.NewClient(s.dir.Socket("node"))
	s.tasks.Go("founding", func(ctx context.Context) error {
		return e.Deliver(ctx, func(c pairing.Contact) bool { // a member that votes is founded
			st, err := ctl.Status(ctx)
			if err != nil {
				return false
			}
			for _, m := range st.Members {
				if m.Name == c.Name {
					return m.Up
				}
			}
			return false
		})
	})
	s.tasks.Go("citizen service's group", func(ctx context.Context) error {
		return e.MakeService(ctx, ctl, s.node.Self, pairing.ServiceBytes(s.store.Size))
	})
}

// saveLan keeps a lan that was set at the console; on a founded node everything
// else of its network stays.
func (s *system) saveLan(cfg netcfg.Config) error {
	b, err := json.MarshalIndent(cfg, "", "  ")
	if err != nil {
		return err
	}
	return seed.WriteWhole(seed.Network(s.dir), append(b, '\n'))
}

// pairsOwn tells the addresses that the founding has given to the lan of this node, at
// which the others meet it: no person sees or changes them. A node without a pair, nil,
// has none.
func pairsOwn(n *config.Node) func(netip.Prefix) bool {
	return func(p netip.Prefix) bool {
		return n != nil && p.Addr().Is6() && p.Addr().IsPrivate() && p.Bits() == 64 &&
			slices.ContainsFunc(n.VoteListen, func(l transport.Path) bool {
				at, err := netip.ParseAddrPort(l.Addr)
				return err == nil && l.Name == netcfg.RoleLan && at.Addr() == p.Addr()
			})
	}
}

// own are the addresses of the lan that are the pair's.
func (s *system) own() func(netip.Prefix) bool {
	n, err := config.Load(s.dir)
	if err != nil { // a node without a pair
		n = nil
	}
	return pairsOwn(n)
}
