package pairing

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
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
	// Networks are this machine's IPv4 networks; nil: the kernel is asked.
	Networks func() []netip.Prefix
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
	swaps   chan newSwap

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

	lookUntil time.Time // a founded node hears other machines
}

// New opens the state folder; a new one gets its identity.
func New(c Config, log *slog.Logger) (*Engine, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("pairing: %w", err)
	}
	if c.Listen == "" {
		c.Listen = fmt.Sprintf(":%d", Port)
	}
	if c.Networks == nil {
		c.Networks = networks
	}
	f, replica, err := openFolder(c.Dir, c.Store)
	if err != nil {
		return nil, err
	}
	e := &Engine{cfg: c, log: log.With("room", "pairing"), folder: f, replica: replica, ended: make(chan struct{}), todo: make(chan act, 1), swaps: make(chan newSwap, 1), founders: map[string]bool{}}
	e.hearing = &hearing{log: e.log, self: e.beacon, deaf: c.Kind == cluster.KindWitness}
	if id, err := f.Founded(); err != nil {
		return nil, err
	} else if !id.IsZero() {
		e.hearing.mute = true
	}
	kept, err := f.Kept()
	if err != nil {
		return nil, err
	}
	e.bound = kept != nil
	if err := f.discard(); err != nil { // the power went in the middle of a founding
		return nil, err
	}
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
