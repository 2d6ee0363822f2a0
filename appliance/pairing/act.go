package pairing

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"beffroi.dev/pkg/quorum/cluster"
)

// act is a founding as a person drives it at this node.
type act struct {
	request *Request
	twin    *Party
	witness *Party
	step    Step // of the work; empty: nothing runs
	member  string
	working bool
	fault   *Fault // of the last work
	at      string // the member that it is about

	replaces string // the twin's name: this is a replacement, not a founding
}

// Status is what a console shows.
type Status struct {
	Code    string   `json:"code,omitempty"`
	Wrong   int      `json:"wrong,omitempty"` // tries of this code
	Rest    int      `json:"rest,omitempty"`  // seconds without tries
	Taken   *Fault   `json:"taken,omitempty"` // why this node cannot be founded
	Kept    string   `json:"kept,omitempty"`  // town of a founding that was prepared: its founder must say what became of it
	Heard   []Seen   `json:"heard,omitempty"`
	Act     Act      `json:"act"`
	Pending []string `json:"pending,omitempty"` // members that do not know yet that they are founded
	Secrets *Secrets `json:"secrets,omitempty"`
}

// Seen is a member whose beacon is heard.
type Seen struct {
	Tag     string `json:"tag"`
	Witness bool   `json:"witness,omitempty"`
	Where   string `json:"where"`
}

// Act is how far a founding is.
type Act struct {
	Request *Request `json:"request,omitempty"`
	Twin    string   `json:"twin,omitempty"`    // where it was met
	Witness string   `json:"witness,omitempty"` // where it was met
	Step    Step     `json:"step,omitempty"`
	Member  string   `json:"member,omitempty"`
	Working bool     `json:"working,omitempty"`
	Fault   *Fault   `json:"fault,omitempty"`
	At      string   `json:"at,omitempty"` // the member that the fault is about
	// Replaces is the name of the node whose place a new machine takes; empty: the act
	// is a founding.
	Replaces string `json:"replaces,omitempty"`
}

// Status tells all that a console shows.
func (e *Engine) Status() Status {
	heard := e.hearing.list()
	about := e.about()
	kept, _ := e.folder.Kept()
	record, _ := e.folder.Record()
	e.mu.Lock()
	defer e.mu.Unlock()
	s := Status{Code: e.code.String(), Wrong: e.wrong, Rest: int(max(0, time.Until(e.until).Seconds())), Taken: about.Taken, Secrets: e.secrets}
	if kept != nil {
		s.Kept = cmp.Or(kept.Node.Citizen.Town, "?")
	}
	for _, h := range heard {
		s.Heard = append(s.Heard, Seen{Tag: h.Tag, Witness: h.Kind == cluster.KindWitness, Where: h.Addresses[0].String()})
	}
	a := e.act
	s.Act = Act{Request: a.request, Step: a.step, Member: a.member, Working: a.working, Fault: a.fault, At: a.at, Replaces: a.replaces}
	if a.twin != nil {
		s.Act.Twin = a.twin.Addresses[0]
	}
	if a.witness != nil {
		s.Act.Witness = a.witness.Addresses[0]
	}
	if record != nil {
		for _, m := range record.Members {
			if !m.Told {
				s.Pending = append(s.Pending, m.Name)
			}
		}
	}
	return s
}

func (e *Engine) say(s Step, member string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.act.step, e.act.member = s, member
	if s == StepPreparing {
		e.act.at = member // should it fail, it is about this one
	}
	e.log.Info("founding", "step", s, "member", member)
}

func (e *Engine) working() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.act.working
}

// Begin takes what a person decided. A service address without the length of its
// network takes that of the network of this node in which it lies.
func (e *Engine) Begin(r Request) error {
	r, err := place(r, e.cfg.Networks())
	if err != nil {
		return err
	}
	return e.change(func() error {
		e.act = act{request: &r}
		return nil
	})
}

// networks are the IPv4 networks of this machine.
func networks() (all []netip.Prefix) {
	addresses, _ := net.InterfaceAddrs() // none: an address lies nowhere
	for _, a := range addresses {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() && !p.Addr().IsLoopback() {
			all = append(all, p)
		}
	}
	return all
}

// place checks the service address against the networks of this node.
func place(r Request, around []netip.Prefix) (Request, error) {
	i := slices.IndexFunc(around, func(p netip.Prefix) bool { return p.Contains(r.Service.Addr()) })
	if i >= 0 && r.Service.Bits() == 32 {
		r.Service = netip.PrefixFrom(r.Service.Addr(), around[i].Bits())
	}
	if err := r.Validate(); err != nil {
		return r, err
	}
	if i < 0 {
		return r, fault(BadRequest, "elsewhere")
	}
	if slices.ContainsFunc(around, func(p netip.Prefix) bool { return p.Addr() == r.Service.Addr() }) {
		return r, fault(BadRequest, "own")
	}
	return r, nil
}

// change changes the act unless its work runs.
func (e *Engine) change(f func() error) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.act.working {
		return fault(NotNow)
	}
	return f()
}

// Cancel leaves the act; nobody has been changed yet.
func (e *Engine) Cancel() error {
	return e.change(func() error { e.act = act{}; return nil })
}

// Meet meets the twin or the witness by the code that a person typed, at an address
// or where its beacon comes from.
func (e *Engine) Meet(ctx context.Context, k cluster.Kind, typed, address string) error {
	code, err := ParseCode(typed)
	if err != nil {
		return err
	}
	e.mu.Lock()
	own, early := e.code == code, e.act.request == nil || k == cluster.KindWitness && e.act.twin == nil
	e.mu.Unlock()
	if early || e.working() {
		return fault(NotNow)
	}
	if own {
		return fault(SameIdentity, "code")
	}
	addresses, err := e.find(k, code, strings.TrimSpace(address))
	if err != nil {
		return err
	}
	p, err := e.meet(ctx, code, addresses)
	if f := AsFault(err, Lost); f != nil {
		if f.Reason == SameIdentity { // it stays on the screen: one of the two must be erased
			_ = e.change(func() error { e.act.fault, e.act.at = f, names[1]; return nil })
		}
		return f
	}
	return e.change(func() error {
		if p.About.Kind != k {
			return fault(WrongKind)
		}
		if p.About.Taken != nil {
			return p.About.Taken
		}
		if k == cluster.KindNode {
			e.act.twin, e.act.fault = p, nil
		} else {
			e.act.witness, e.act.fault = p, nil
		}
		return nil
	})
}

// find tells where a member with this code may be.
func (e *Engine) find(k cluster.Kind, c Code, address string) ([]string, error) {
	if address != "" {
		if _, _, err := net.SplitHostPort(address); err != nil {
			address = net.JoinHostPort(strings.Trim(address, "[]"), strconv.Itoa(Port))
		}
		return []string{address}, nil
	}
	for _, h := range e.hearing.list() {
		if h.Tag == c.Tag() && h.Kind == k {
			var all []string
			for _, a := range h.Addresses {
				all = append(all, a.String())
			}
			return all, nil
		}
	}
	return nil, fault(NotHeard, c.Tag())
}

func (e *Engine) meet(ctx context.Context, c Code, addresses []string) (*Party, error) {
	s, at, err := dial(ctx, e.folder.key, addresses)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	stop := context.AfterFunc(ctx, func() { _ = s.conn.SetDeadline(time.Now()) })
	defer stop()
	if s.peer.Equal(e.self()) {
		return nil, fault(SameIdentity)
	}
	if err := s.prove(c, e.self()); err != nil {
		return nil, err
	}
	m, err := s.receive(answerBound)
	if err != nil {
		return nil, err
	}
	p := &Party{Key: s.peer, Addresses: []string{at}}
	for _, a := range addresses {
		if a != at {
			p.Addresses = append(p.Addresses, a)
		}
	}
	if err := m.want(KindAbout, &p.About); err != nil {
		return nil, err
	}
	return p, nil
}

// Found founds the pair. It returns when the work has begun; Status tells the rest.
func (e *Engine) Found() error {
	e.journal.Lock()
	kept, err := e.folder.Kept()
	e.journal.Unlock()
	if err != nil {
		return err
	}
	if kept != nil {
		return fault(OtherFounder)
	}
	return e.change(func() error {
		if e.act.request == nil || e.act.twin == nil || e.act.witness == nil {
			return fault(NotNow)
		}
		select {
		case e.todo <- e.act:
			e.act.working, e.act.fault = true, nil
			return nil
		default:
			return fault(NotNow)
		}
	})
}

// work carries out what Found asks for.
func (e *Engine) work(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case a := <-e.todo:
			err := e.found(ctx, a)
			e.mu.Lock()
			e.act.working = false
			if e.act.fault = AsFault(err, Disk); err != nil {
				e.log.Error("the founding has failed", "cause", err)
			}
			e.mu.Unlock()
		}
	}
}

func (e *Engine) found(ctx context.Context, a act) error {
	me := Party{Key: e.self(), About: e.about(), Addresses: []string{""}}
	record, docs, secrets, err := MakePlan(*a.request, me, *a.twin, *a.witness)
	if err != nil {
		return err
	}
	e.journal.Lock()
	defer e.journal.Unlock()
	if err := errors.Join(e.folder.write(secretsFile, secrets), e.folder.write(serviceFile, true)); err != nil {
		return err
	}
	twin, witness := e.link(a.twin.Key, a.twin.Addresses), e.link(a.witness.Key, a.witness.Addresses)
	defer twin.Close()
	defer witness.Close()
	peers := []*link{twin, witness}
	if err := Found(ctx, e.folder, record, docs, []Peer{twin, witness}, e.say); err != nil {
		return errors.Join(err, e.folder.discard())
	}
	e.mu.Lock()
	e.secrets = &secrets
	e.mu.Unlock()
	if _, err := Settle(ctx, e.folder, func(i int) (Peer, error) { return peers[i], nil }, nil, e.say); err != nil {
		e.log.Warn("the pair is founded; a member must still be told", "cause", err)
	}
	e.end()
	return nil
}
