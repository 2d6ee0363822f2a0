package pairing

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"beffroi.dev/appliance/config"
	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/cluster"
	"beffroi.dev/pkg/task"
)

const (
	// maxWrong is how many wrong tries a code survives. A code has 28 million
	// values, and each try after a wrong one waits longer: whoever guesses all day
	// needs some thousand years. It ends with the boot and not with the clock: the
	// other site may be half an hour away.
	maxWrong  = 5
	wrongRest = 2 * time.Second  // after each, times their number
	codeRest  = 30 * time.Second // after a code that was guessed at too often
	// maxSessions bounds who talks to a member at once.
	maxSessions = 8
	settleEvery = 3 * time.Second
	stopBound   = 5 * time.Second
)

// Config of an Engine.
type Config struct {
	Dir     config.Dir
	Kind    cluster.Kind
	Release string
	Listen  string // host:port; empty: Port of every address
	// Address is where a witness is reached by the nodes, host:port; empty: where
	// its founder reached it.
	Address string
	Store   string // path of a node's store
	// About completes what a node tells of itself now: network and store.
	About func(*About)
	// Shown is called when the code changes: a witness has no screen. May be nil.
	Shown func(code string)
}

// Validate reports all faults.
func (c *Config) Validate() error {
	var faults []error
	if c.Dir == "" {
		faults = append(faults, errors.New("no state folder"))
	}
	if c.Kind == cluster.KindNode && (c.Store == "" || c.About == nil) {
		faults = append(faults, errors.New("a node without a store or a network"))
	}
	return errors.Join(faults...)
}

// Engine is one member's part in a founding.
type Engine struct {
	cfg     Config
	log     *slog.Logger
	folder  *folder
	replica ident.UUID
	hearing *hearing
	ended   chan struct{} // closed when this member is founded
	once    sync.Once
	todo    chan act
	around  func() []netip.Prefix

	journal sync.Mutex // one durable act at a time

	mu       sync.Mutex // guards the rest
	code     Code
	wrong    int
	until    time.Time // no try before
	meeting  bool      // a try is on its way
	founders map[string]bool
	bound    bool // something is kept
	act      act
	secrets  *Secrets
}

// New opens the state folder; a new one gets its identity.
func New(c Config, log *slog.Logger) (*Engine, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("pairing: %w", err)
	}
	if c.Listen == "" {
		c.Listen = fmt.Sprintf(":%d", Port)
	}
	f, replica, err := openFolder(c.Dir, c.Store)
	if err != nil {
		return nil, err
	}
	e := &Engine{cfg: c, log: log.With("room", "pairing"), folder: f, replica: replica, ended: make(chan struct{}), todo: make(chan act, 1), around: networks, founders: map[string]bool{}}
	e.hearing = &hearing{log: e.log, self: e.beacon, deaf: c.Kind == cluster.KindWitness}
	kept, err := f.Kept()
	if err != nil {
		return nil, err
	}
	e.bound = kept != nil
	err = f.read(secretsFile, &e.secrets)
	return e, err
}

func (e *Engine) self() ed25519.PublicKey { return e.folder.key.Public().(ed25519.PublicKey) }

// about is what this member tells of itself.
func (e *Engine) about() About {
	a := About{Kind: e.cfg.Kind, Release: e.cfg.Release, Replica: e.replica}
	if e.cfg.Kind == cluster.KindWitness {
		a.Address = e.cfg.Listen
	}
	if e.cfg.About != nil {
		e.cfg.About(&a)
	}
	return a
}

func (e *Engine) beacon() Beacon {
	e.mu.Lock()
	defer e.mu.Unlock()
	b := Beacon{Kind: e.cfg.Kind, Bound: e.bound, Port: Port, Tag: e.code.Tag(), Who: [8]byte(e.self())}
	if _, port, err := net.SplitHostPort(e.cfg.Listen); err == nil {
		var n uint16
		if _, err := fmt.Sscan(port, &n); err == nil {
			b.Port = n
		}
	}
	return b
}

// renew makes a new code.
func (e *Engine) renew() {
	e.mu.Lock()
	e.code, e.wrong = NewCode(), 0
	code := e.code
	e.mu.Unlock()
	if e.cfg.Shown != nil {
		e.cfg.Shown(code.String())
	}
}

// Run shows a code, listens and founds until this member is founded, or ctx ends.
func (e *Engine) Run(ctx context.Context) error {
	if done, err := e.resume(); done || err != nil {
		return err
	}
	e.renew()
	tasks := task.New(ctx)
	tasks.Go("beacons", e.hearing.run)
	tasks.Go("founders", e.listen)
	tasks.Go("work", e.work)
	tasks.Go("settle", func(ctx context.Context) error { return e.settleLoop(ctx, nil) })
	select {
	case <-e.ended:
	case <-tasks.Context().Done():
	}
	if err := tasks.Stop(stopBound); err != nil {
		return fmt.Errorf("pairing: %w", err)
	}
	return ctx.Err()
}

// resume ends what a power cut has interrupted after this member was founded.
func (e *Engine) resume() (bool, error) {
	e.journal.Lock()
	defer e.journal.Unlock()
	id, err := e.folder.Founded()
	if err != nil || id.IsZero() {
		return false, err
	}
	e.end()
	return true, e.folder.Forget()
}

func (e *Engine) end() { e.once.Do(func() { close(e.ended) }) }

// listen takes founders until ctx ends.
func (e *Engine) listen(ctx context.Context) error {
	cfg, err := tlsConfig(e.folder.key)
	if err != nil {
		return err
	}
	for ctx.Err() == nil {
		if err := e.accept(ctx, cfg); err != nil && ctx.Err() == nil {
			e.log.Warn("pairing does not listen; trying again", "address", e.cfg.Listen, "cause", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
	return nil
}

func (e *Engine) accept(ctx context.Context, cfg *tls.Config) error {
	l, err := net.Listen("tcp", e.cfg.Listen)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	defer l.Close()
	sessions := task.New(ctx)
	room := make(chan struct{}, maxSessions)
	for {
		c, err := l.Accept()
		if err != nil {
			return errors.Join(err, sessions.Stop(stopBound))
		}
		select {
		case room <- struct{}{}:
		default:
			_ = c.Close()
			continue
		}
		sessions.Go("founder "+c.RemoteAddr().String(), func(ctx context.Context) error {
			defer func() { <-room }()
			defer c.Close()
			stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Now().Add(time.Second)) }) // a last answer may be on its way
			defer stop()
			if err := e.serve(ctx, tls.Server(c, cfg)); err != nil {
				e.log.Info("a founder's connection ended", "from", c.RemoteAddr().String(), "cause", err)
			}
			return nil
		})
	}
}

// serve talks with one founder.
func (e *Engine) serve(ctx context.Context, c *tls.Conn) error {
	s, err := secure(ctx, c)
	if err != nil {
		return err
	}
	first, err := s.receive(answerBound)
	if err != nil {
		return errors.Join(err, s.send(refusal(AsFault(err, BadMessage)))) // another version should know why
	}
	if err := e.admit(s, first); err != nil {
		f := AsFault(err, BadMessage)
		return errors.Join(f, s.send(refusal(f)))
	}
	about, err := message(KindAbout, e.about())
	if err != nil {
		return err
	}
	for answer := about; ; {
		if err := s.send(answer); err != nil {
			return err
		}
		if e.isFounded() {
			e.end()
			return nil
		}
		m, err := s.receive(idleBound)
		if err != nil {
			return nil // it has gone
		}
		answer = e.handle(s.peer, m)
	}
}

func (e *Engine) isFounded() bool {
	id, err := e.folder.Founded()
	return err == nil && !id.IsZero()
}

// handle carries out a founder's message, unless this member founds by itself.
func (e *Engine) handle(founder ed25519.PublicKey, m Message) Message {
	if e.working() {
		return refusal(fault(NotNow))
	}
	e.journal.Lock()
	defer e.journal.Unlock()
	if r, err := e.folder.Record(); err != nil || r != nil {
		return refusal(AsFault(errors.Join(err, fault(NotNow)), Disk))
	}
	o := Offer{Key: e.self(), About: e.about(), Journal: e.folder}
	answer := o.Handle(founder, m)
	kept, err := e.folder.Kept()
	e.mu.Lock()
	e.bound = err != nil || kept != nil
	e.mu.Unlock()
	e.log.Info("a founder asked", "kind", m.Kind, "answer", answer.Kind)
	return answer
}

// admit lets a founder in who knows the code, or who has met this member before.
func (e *Engine) admit(s *session, first Message) error {
	if s.peer.Equal(e.self()) {
		return fault(SameIdentity)
	}
	switch first.Kind {
	case KindReturn:
		kept, err := e.folder.Kept()
		if err != nil {
			return err
		}
		e.mu.Lock()
		defer e.mu.Unlock()
		if !e.founders[string(s.peer)] && (kept == nil || !s.peer.Equal(ed25519.PublicKey(kept.Founder))) {
			return fault(Unknown)
		}
		return nil
	case KindStart:
		return e.try(s, first)
	}
	return fault(BadMessage)
}

// try lets one founder at a time try the code.
func (e *Engine) try(s *session, start Message) error {
	e.mu.Lock()
	code, rest := e.code, time.Until(e.until)
	if e.meeting || rest > 0 {
		e.mu.Unlock()
		return fault(CodePaused, max(rest, time.Second).Round(time.Second).String())
	}
	e.meeting = true
	e.mu.Unlock()
	spent := false
	right, err := s.judge(code, e.self(), start, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		spent = true
		e.wrong++ // until it proves to be right
		e.until = time.Now().Add(time.Duration(e.wrong) * wrongRest)
	})
	e.mu.Lock()
	e.meeting = false
	anew := false
	switch {
	case right:
		e.wrong--
		e.until = time.Time{}
		if len(e.founders) >= maxHeard {
			clear(e.founders)
		}
		e.founders[string(s.peer)] = true
	case spent && e.wrong >= maxWrong:
		e.until, anew = time.Now().Add(codeRest), true
	}
	e.mu.Unlock()
	if anew {
		e.log.Warn("five wrong codes: there is a new one", "from", s.conn.RemoteAddr().String())
		e.renew()
	}
	if err == nil && !right {
		err = fault(CodeWrong)
	}
	return err
}

// Forget gives up what this member has prepared: a person at its console says that
// its founder never comes back.
func (e *Engine) Forget() error {
	e.journal.Lock()
	defer e.journal.Unlock()
	if err := e.folder.Forget(); err != nil {
		return err
	}
	e.mu.Lock()
	e.bound = false
	clear(e.founders)
	e.mu.Unlock()
	e.renew()
	return nil
}

// Noted says that a person has noted the first secrets.
func (e *Engine) Noted() error {
	if err := e.folder.remove(secretsFile); err != nil {
		return err
	}
	e.mu.Lock()
	e.secrets = nil
	e.mu.Unlock()
	return nil
}

// Deliver tells a founded founder's members until all know; seen says that one is
// known to be founded by other means.
func (e *Engine) Deliver(ctx context.Context, seen func(Contact) bool) error {
	return e.settleLoop(ctx, seen)
}

// settleLoop ends what this founder has begun, until nothing is left.
func (e *Engine) settleLoop(ctx context.Context, seen func(Contact) bool) error {
	for ctx.Err() == nil {
		if !e.working() {
			e.settle(ctx, seen)
			if e.isFounded() {
				e.end()
				if r, err := e.folder.Record(); err == nil && r == nil {
					return nil
				}
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(settleEvery):
		}
	}
	return nil
}

func (e *Engine) settle(ctx context.Context, seen func(Contact) bool) {
	e.journal.Lock()
	defer e.journal.Unlock()
	r, err := e.folder.Record()
	if err != nil || r == nil {
		return
	}
	links := make([]*link, len(r.Members))
	defer func() {
		for _, l := range links {
			l.Close()
		}
	}()
	_, err = Settle(ctx, e.folder, func(i int) (Peer, error) {
		links[i] = e.link(r.Members[i].PublicKey, r.Members[i].Addresses)
		return links[i], nil
	}, seen, e.say)
	if err != nil {
		e.log.Info("not all members of this founding could be told", "cause", err)
	}
}

// link is a Peer whose key is known: it dials when it is asked.
type link struct {
	e         *Engine
	key       ed25519.PublicKey
	addresses []string
	s         *session
}

func (e *Engine) link(key ed25519.PublicKey, addresses []string) *link {
	all := slices.Clone(addresses)
	for _, h := range e.hearing.list() { // where it is now
		if h.Who == [8]byte(key) {
			for _, a := range h.Addresses {
				if !slices.Contains(all, a.String()) {
					all = append(all, a.String())
				}
			}
		}
	}
	return &link{e: e, key: key, addresses: all}
}

func (l *link) Close() {
	if l != nil && l.s != nil {
		_ = l.s.Close()
		l.s = nil
	}
}

// Ask implements Peer.
func (l *link) Ask(ctx context.Context, m Message) (Message, error) {
	if l.s == nil {
		s, _, err := dial(ctx, l.e.folder.key, l.addresses)
		if err != nil {
			return Message{}, err
		}
		l.s = s
		if !s.peer.Equal(l.key) {
			l.Close()
			return Message{}, fault(Unreachable, "another machine answers at "+s.conn.RemoteAddr().String())
		}
		about, err := s.Ask(ctx, Message{Kind: KindReturn})
		if err == nil {
			err = about.want(KindAbout, nil)
		}
		if err != nil {
			l.Close()
			return Message{}, err
		}
	}
	answer, err := l.s.Ask(ctx, m)
	if err != nil {
		l.Close()
	}
	return answer, err
}
