package netcfg

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
)

// Options of an Engine.
type Options struct {
	Virtual bool   // count veth links as cards: for laboratories
	Names   string // the file of the DNS servers in use, as resolv.conf(5) has it; empty: none is written
}

// Status is what the last Apply found and did.
type Status struct {
	Roles  Roles
	Faults []Fault
	Steps  []string // what was changed, in order; empty when all was there
}

// Engine applies configurations to the kernel. All its methods act in the network
// namespace of the calling thread.
type Engine struct {
	log     *slog.Logger
	virtual bool
	names   string

	mu     sync.Mutex // one change at a time; guards the rest
	cfg    Config
	set    bool
	offer  Offer
	status Status
}

// New makes an engine that has applied nothing yet.
func New(log *slog.Logger, o Options) *Engine {
	return &Engine{log: log, virtual: o.Virtual, names: o.Names}
}

// Apply makes cfg true. A port without a card is a fault in the Status, not an
// error: the others are brought up nevertheless. The error joins all steps that
// the kernel refused; the rest was done.
func (e *Engine) Apply(ctx context.Context, cfg Config) (Status, error) {
	if err := cfg.Validate(); err != nil {
		return Status{}, fmt.Errorf("network configuration: %w", err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if cfg.Lan.Mode != ModeDHCP || e.set && cfg.LanLink() != e.cfg.LanLink() {
		e.offer = Offer{}
	}
	e.cfg, e.set = cfg.WithDefaults(), true
	return e.apply(ctx)
}

// SetLease tells what DHCP says now: a lease, or nil for none. It changes only the
// lan's IPv4 address and route, and is ignored when the lan is not in mode dhcp. A
// lease in the network of a fibre would cut off the twin, and one of the service
// address would split the citizens: they count as none and are errors.
func (e *Engine) SetLease(ctx context.Context, l *Lease) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.set || e.cfg.Lan.Mode != ModeDHCP {
		return nil
	}
	var refused error
	for _, f := range e.cfg.Fibres {
		if l != nil && f.Address.Overlaps(l.Address) {
			refused = fmt.Errorf("the lease %v overlaps the network of %s, %v", l.Address, f.Name, f.Address.Masked())
			l = nil
		}
	}
	if s := e.cfg.Service.Address; l != nil && s.IsValid() && s.Addr() == l.Address.Addr() {
		refused = fmt.Errorf("the lease %v is the service address: keep it out of the DHCP server's range", l.Address)
		l = nil
	}
	e.offer = Offer{Known: true, Lease: l}
	_, err := e.apply(ctx)
	return errors.Join(refused, err)
}

// Status is the outcome of the last change.
func (e *Engine) Status() Status {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.status
}

func (e *Engine) apply(ctx context.Context) (Status, error) {
	cards, err := Cards(e.virtual)
	if err != nil {
		return e.status, err
	}
	roles, faults := Assign(cards, e.cfg)
	plan := MakePlan(e.cfg, roles, e.offer)
	k, err := openKernel()
	if err != nil {
		return e.status, err
	}
	defer k.Close()
	state, err := k.observe(plan)
	if err != nil {
		return e.status, fmt.Errorf("observe the network: %w", err)
	}
	e.status = Status{Roles: roles, Faults: faults}
	for _, f := range faults {
		e.log.Warn("port without a card", "role", f.Role, "why", f.Why)
	}
	if err := saveNames(e.names, e.cfg, e.offer); err != nil { // no reason to be without a network
		e.log.Error("names are asked of the wrong servers", "err", err)
	}
	var failed []error
	steps := Changes(state, plan)
	for _, s := range append(steps, spare(state, cards, roles, steps)...) {
		if err := ctx.Err(); err != nil {
			failed = append(failed, fmt.Errorf("%v: %w", s, err))
			break
		}
		e.status.Steps = append(e.status.Steps, s.String())
		if err := k.do(s); err != nil {
			failed = append(failed, err)
			e.log.Error("network step failed", "step", s.String(), "err", err)
			continue
		}
		e.log.Debug("network step", "step", s.String())
	}
	return e.status, errors.Join(failed...)
}
