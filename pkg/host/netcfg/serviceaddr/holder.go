package serviceaddr

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/mdlayher/packet"

	"beffroi.dev/pkg/host/netcfg"
	"beffroi.dev/pkg/task"
)

// LinkName is the link that carries the service address.
const LinkName = "service"

// Config of a Holder.
type Config struct {
	Lan      string // the link below: the one that carries the lan's addresses
	Service  netcfg.Service
	Announce []time.Duration // pauses before the announcements after the first; DefaultAnnounce when nil
}

// DefaultAnnounce makes three announcements in all: a switch that was busy with
// the failure itself may miss the first.
var DefaultAnnounce = []time.Duration{200 * time.Millisecond, time.Second}

// Validate reports everything that is wrong with the configuration.
func (c Config) Validate() error {
	var faults []error
	if c.Lan == "" {
		faults = append(faults, errors.New("no lan link"))
	}
	if !c.Service.Address.IsValid() && !c.Service.Address6.IsValid() {
		faults = append(faults, errors.New("no address"))
	}
	if m, err := net.ParseMAC(c.Service.VirtualMAC); err != nil || len(m) != 6 {
		faults = append(faults, fmt.Errorf("virtual MAC %q: not a MAC address", c.Service.VirtualMAC))
	}
	for _, d := range c.Announce {
		if d <= 0 || d > time.Minute {
			faults = append(faults, fmt.Errorf("announce after %v: want more than 0, at most a minute", d))
		}
	}
	return errors.Join(faults...)
}

// Holder takes and gives back the service address.
type Holder struct {
	cfg Config
	mac net.HardwareAddr
	log *slog.Logger

	mu    sync.Mutex // one change at a time; guards the rest
	held  bool
	voice *task.Group // announces; nil when nothing is to be said
}

// New makes a holder that holds nothing.
func New(cfg Config, log *slog.Logger) (*Holder, error) {
	if cfg.Announce == nil {
		cfg.Announce = DefaultAnnounce
	}
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("service address: %w", err)
	}
	mac, err := net.ParseMAC(cfg.Service.VirtualMAC)
	return &Holder{cfg: cfg, mac: mac, log: log}, err
}

// Hold takes the address and announces it. When it returns nil the node answers
// for the address. If it was held already, the link is put right and the address
// announced again. If it fails nothing is left of it.
func (h *Holder) Hold(ctx context.Context) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	err := h.hold(ctx)
	if err != nil {
		return fmt.Errorf("hold the service address: %w", errors.Join(err, h.drop()))
	}
	h.held = true
	return nil
}

func (h *Holder) hold(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := h.hush(); err != nil {
		return err
	}
	if err := take(h.cfg, h.mac); err != nil {
		return err
	}
	return h.announce()
}

// announce sends the first announcement and has the others follow.
func (h *Holder) announce() error {
	ifi, err := net.InterfaceByName(LinkName)
	if err != nil {
		return fmt.Errorf("announce: %w", err)
	}
	conn, err := packet.Listen(ifi, packet.Raw, 0, nil) // protocol 0: it hears nothing
	if err != nil {
		return fmt.Errorf("announce: raw socket: %w", err)
	}
	if err := h.say(conn); err != nil {
		return errors.Join(err, conn.Close())
	}
	h.voice = task.New(context.Background()) // its life is that of the address, not of the call
	h.voice.Go("announce", func(ctx context.Context) error {
		defer conn.Close()
		for _, pause := range h.cfg.Announce {
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(pause):
			}
			if err := h.say(conn); err != nil {
				h.log.Warn("service address not announced", "err", err)
			}
		}
		return nil
	})
	return nil
}

func (h *Holder) say(conn *packet.Conn) error {
	for _, f := range frames(h.cfg.Service, h.mac) {
		if _, err := conn.WriteTo(f, &packet.Addr{HardwareAddr: f[:6]}); err != nil {
			return fmt.Errorf("announce: %w", err)
		}
	}
	return nil
}

// frames are the announcements of all addresses.
func frames(s netcfg.Service, mac net.HardwareAddr) [][]byte {
	var out [][]byte
	if s.Address.IsValid() {
		out = append(out, arpAnnouncement(mac, s.Address.Addr()))
	}
	if s.Address6.IsValid() {
		out = append(out, advertisement(mac, s.Address6.Addr()))
	}
	return out
}

// Refresh has answers leave by the gateway that the lan has now. When the address is not
// held there is nothing to do.
func (h *Holder) Refresh() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.held {
		return nil
	}
	if err := refresh(h.cfg); err != nil {
		return fmt.Errorf("gateway of the service address: %w", err)
	}
	return nil
}

// hush ends the announcements.
func (h *Holder) hush() error {
	if h.voice == nil {
		return nil
	}
	err := h.voice.Stop(time.Second)
	h.voice = nil
	return err
}

// Drop gives the address back. When it returns nil the node no longer answers for
// it. To drop what is not held is no fault.
func (h *Holder) Drop() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.drop()
}

func (h *Holder) drop() error {
	err := errors.Join(Stale(), h.hush()) // the link first: its announcements then go nowhere
	h.held = h.held && err != nil
	return err
}

// Held reports whether the last change was a successful Hold.
func (h *Holder) Held() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.held
}

// prefixes of the service that are set.
func prefixes(s netcfg.Service) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range []netip.Prefix{s.Address, s.Address6} {
		if p.IsValid() {
			out = append(out, p)
		}
	}
	return out
}
