package boot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"beffroi.dev/pkg/host/netcfg"
	"beffroi.dev/pkg/host/netcfg/dhcp"
)

// leaseFile keeps the lan's lease in memory, for an init that is started again.
const leaseFile = "/run/beffroi/lease.json"

// lease asks for an address for as long as init lives, or until endLease, once.
func (s *system) lease(cfg netcfg.Config) error {
	s.leasing.Lock()
	defer s.leasing.Unlock()
	if s.unlease != nil {
		return nil
	}
	held, err := heldLease(leaseFile)
	if err != nil {
		s.log.Warn("what DHCP gave before is not known any more", "cause", err)
	}
	c, err := dhcp.New(dhcp.Config{Link: cfg.LanLink(), HostName: cfg.HostName, Held: held, Changed: func(ctx context.Context, l *netcfg.Lease) {
		if ctx.Err() != nil {
			return // the client was ended while it asked: what it got is nobody's
		}
		if err := errors.Join(s.net.SetLease(ctx, l), holdLease(leaseFile, l)); err != nil {
			s.log.Error("the address that DHCP gave cannot be used", "cause", err)
		}
		s.reroute()
	}}, s.log)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(s.tasks.Context())
	s.unlease = cancel
	s.tasks.Go("dhcp", func(context.Context) error {
		_ = c.Run(ctx) // it ends with ctx only
		return nil
	})
	return nil
}

// endLease ends the client that keeps the lease, and forgets the lease.
func (s *system) endLease() {
	s.leasing.Lock()
	defer s.leasing.Unlock()
	if s.unlease == nil {
		return
	}
	s.unlease()
	s.unlease = nil
	if err := holdLease(leaseFile, nil); err != nil {
		s.log.Warn("the lease that was given up is not forgotten", "cause", err)
	}
}

// heldLease is what an earlier life of init wrote down; nil when there is none.
func heldLease(path string) (*netcfg.Lease, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read lease: %w", err)
	}
	var l netcfg.Lease
	if err := json.Unmarshal(b, &l); err != nil {
		return nil, fmt.Errorf("read lease: %w", err)
	}
	if !l.Address.Addr().Is4() {
		return nil, fmt.Errorf("read lease: address %v", l.Address)
	}
	return &l, nil
}

// holdLease writes a lease down, or forgets it.
func holdLease(path string, l *netcfg.Lease) error {
	if l == nil {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("forget lease: %w", err)
		}
		return nil
	}
	b, err := json.Marshal(l)
	if err != nil {
		return fmt.Errorf("keep lease: %w", err)
	}
	if err := os.WriteFile(path+".new", b, 0o600); err != nil {
		return fmt.Errorf("keep lease: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("keep lease: %w", err)
	}
	return nil
}
