package boot

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"beffroi.dev/appliance/config"
	"beffroi.dev/appliance/operator"
	"beffroi.dev/appliance/pairing"
	"beffroi.dev/pkg/host/netcfg"
	"beffroi.dev/pkg/host/netcfg/firewall"
	"beffroi.dev/pkg/quorum/cluster"
	"beffroi.dev/pkg/task"
)

// emulated is the board of which nobody expects real time.
const emulated = "qemuq35"

// openDesk answers the console for as long as init lives.
func (s *system) openDesk(ctx context.Context) error {
	s.lan.apply, s.lan.save = s.applyNetwork, s.saveLan
	tasks := task.New(ctx)
	tasks.Go("trial of a network", func(ctx context.Context) error {
		for ctx.Err() == nil {
			if err := s.lan.tick(ctx, time.Now()); err != nil {
				s.log.Error("the network from before the trial cannot be restored; trying again", "cause", err)
			}
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
		}
		return nil
	})
	for ctx.Err() == nil { // a console without its socket still shows everything
		if err := operator.Serve(ctx, operator.Socket, desk{s}, s.log); err != nil {
			s.log.Error("operator's socket", "cause", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(retry):
		}
	}
	return tasks.Stop(stopBound)
}

// desk is what the console may ask of init.
type desk struct{ *system }

func (d desk) State() operator.State {
	st := operator.State{Profile: "production", Trial: int(d.lan.left(time.Now()) / time.Second)}
	if d.board.Name == emulated {
		st.Profile = "emulated"
	}
	if e := d.pairing.Load(); e != nil {
		p := e.Status()
		if d.paired() {
			p = pairing.Status{Pending: p.Pending, Secrets: p.Secrets, Act: p.Act, Heard: p.Heard}
		}
		st.Pairing = &p
	}
	if cfg, err := d.currentNetwork(); err == nil {
		lan := cfg.Lan
		st.Fixed = d.fixed(lan)
		lan.Addresses = slices.DeleteFunc(slices.Clone(lan.Addresses), d.own())
		st.Lan = &lan
	}
	return st
}

func (s *system) paired() bool {
	_, err := os.Stat(s.dir.Config())
	return err == nil
}

func (s *system) currentNetwork() (netcfg.Config, error) {
	if s.paired() {
		return LoadNetwork(s.dir)
	}
	return s.blankNetwork()
}

// fixed lists the addresses of the lan by which others know this node: of a pair
// that was founded there are none.
func (s *system) fixed(lan netcfg.Lan) (all []string) {
	n, err := config.Load(s.dir)
	if err != nil {
		return nil
	}
	own := pairsOwn(n)
	listen := []string{n.Citizen.Listen, n.Console.Listen}
	for _, p := range n.VoteListen {
		listen = append(listen, p.Addr)
	}
	for _, l := range listen {
		host, _, _ := net.SplitHostPort(l)
		a, err := netip.ParseAddr(host)
		if err != nil || slices.Contains(all, host) {
			continue
		}
		if slices.ContainsFunc(lan.Addresses, func(p netip.Prefix) bool { return p.Addr() == a && !own(p) }) {
			all = append(all, host)
		}
	}
	return all
}

func (d desk) Do(ctx context.Context, a operator.Ask) error {
	switch a.Do {
	case operator.TryLan:
		if a.Lan == nil {
			return &pairing.Fault{Reason: pairing.BadMessage}
		}
		return d.try(context.WithoutCancel(ctx), *a.Lan)
	case operator.KeepLan:
		return d.lan.keep()
	case operator.UndoLan:
		return d.lan.undo(context.WithoutCancel(ctx))
	case operator.Look, operator.Replace:
		return d.replace(ctx, a)
	}
	e := d.pairing.Load()
	if e == nil {
		return errNotNow
	}
	if a.Do == operator.Noted {
		return e.Noted()
	}
	if d.paired() {
		return &pairing.Fault{Reason: pairing.NotBlank}
	}
	switch a.Do {
	case operator.Begin:
		if a.Request == nil {
			return &pairing.Fault{Reason: pairing.BadMessage}
		}
		return e.Begin(*a.Request)
	case operator.Meet:
		kind := cluster.KindNode
		if a.Witness {
			kind = cluster.KindWitness
		}
		return e.Meet(ctx, kind, a.Code, a.Address)
	case operator.Found:
		return e.Found()
	case operator.Cancel:
		return e.Cancel()
	case operator.Forget:
		return e.Forget()
	case operator.Erase:
		return d.erase(e)
	}
	return &pairing.Fault{Reason: pairing.BadMessage, Detail: string(a.Do)}
}

// try applies what a person has typed: the lan's own settings. Its card and what a
// founding has given it stay.
func (s *system) try(ctx context.Context, lan netcfg.Lan) error {
	if !s.paired() && s.pairing.Load() == nil {
		return errNotNow // the state folder is not there yet
	}
	before, err := s.currentNetwork()
	if err != nil {
		return err
	}
	tried := before
	tried.Lan = before.Lan.WithSettings(lan, s.own())
	if err := tried.Validate(); err != nil {
		return &pairing.Fault{Reason: operator.BadNetwork, Detail: err.Error()}
	}
	if err := s.lan.begin(ctx, before, tried, time.Now()); err != nil {
		var f *pairing.Fault
		if errors.As(err, &f) {
			return f
		}
		return &pairing.Fault{Reason: operator.BadNetwork, Detail: err.Error()}
	}
	return nil
}

// applyNetwork brings a network up on a node that runs: walls, addresses, lease.
func (s *system) applyNetwork(ctx context.Context, cfg netcfg.Config) error {
	walls := s.blankWalls
	if s.paired() {
		walls = s.walls
	}
	if err := firewall.Install(walls(cfg)); err != nil {
		return err
	}
	s.endLease() // it asks anew, on the link that the lan has now
	defer s.reroute()
	if _, err := s.net.Apply(ctx, cfg); err != nil {
		return err
	}
	if cfg.Lan.Mode == netcfg.ModeDHCP {
		return s.lease(cfg)
	}
	return nil
}
