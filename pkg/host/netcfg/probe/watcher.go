package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"beffroi.dev/pkg/host/netcfg"
	"beffroi.dev/pkg/task"
)

// Config of a Watcher.
type Config struct {
	Pair     []byte // 16 bytes; nil before the pairing
	Node     uint64
	Ports    []Port        // all cards, those without a role too
	Interval time.Duration // 1 s when 0
	// Open opens a card for whole ethernet frames; Raw when nil.
	Open func(card string) (io.ReadWriteCloser, error)
	// Cards tells carrier and speed; netcfg.Cards when nil.
	Cards func() ([]netcfg.Card, error)
}

// Validate reports everything that is wrong with the configuration.
func (c Config) Validate() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if len(c.Pair) != 0 && len(c.Pair) != 16 {
		fault("pair: %d bytes, want 16", len(c.Pair))
	}
	if c.Interval < 0 {
		fault("interval %v", c.Interval)
	}
	cards, roles := map[string]bool{}, map[Role]bool{}
	for _, p := range c.Ports {
		if len(p.MAC) != 6 || p.Role > Fibre2 || p.MTU != 0 && (p.MTU < minSize || p.MTU > maxSize) {
			fault("port %s: mac %v, role %v, mtu %d", p.Card, p.MAC, p.Role, p.MTU)
		}
		if cards[p.Card] || p.Role != None && roles[p.Role] {
			fault("port %s: its card or role (%v) is named twice", p.Card, p.Role)
		}
		cards[p.Card], roles[p.Role] = true, true
	}
	return errors.Join(faults...)
}

// Watcher probes while Run runs.
type Watcher struct {
	cfg Config
	log *slog.Logger

	mu    sync.Mutex // guards the rest
	core  core
	conns []io.ReadWriteCloser // of the ports; nil while one cannot be opened
}

// New makes a watcher that has heard nothing yet.
func New(cfg Config, log *slog.Logger) (*Watcher, error) {
	if cfg.Interval == 0 {
		cfg.Interval = time.Second
	}
	if cfg.Open == nil {
		cfg.Open = Raw
	}
	if cfg.Cards == nil {
		cfg.Cards = func() ([]netcfg.Card, error) { return netcfg.Cards(false) }
	}
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("probe: %w", err)
	}
	w := &Watcher{cfg: cfg, log: log, core: core{node: cfg.Node, interval: cfg.Interval}, conns: make([]io.ReadWriteCloser, len(cfg.Ports))}
	copy(w.core.pair[:], cfg.Pair)
	for _, p := range cfg.Ports {
		w.core.ports = append(w.core.ports, &port{Port: p})
	}
	return w, nil
}

// Run probes until ctx ends. A card that cannot be opened is tried again.
func (w *Watcher) Run(ctx context.Context) error {
	g := task.New(ctx)
	for i := range w.cfg.Ports {
		g.Go("probe "+w.cfg.Ports[i].Card, func(ctx context.Context) error { return w.listen(ctx, i) })
	}
	for ctx.Err() == nil {
		w.tick()
		select {
		case <-ctx.Done():
		case <-time.After(w.cfg.Interval):
		}
	}
	w.mu.Lock()
	for _, c := range w.conns {
		if c != nil {
			_ = c.Close() // ends its reader
		}
	}
	w.mu.Unlock()
	return errors.Join(ctx.Err(), g.Stop(2*time.Second))
}

func (w *Watcher) listen(ctx context.Context, i int) error {
	for ctx.Err() == nil {
		if err := w.read(ctx, i); err != nil && ctx.Err() == nil {
			w.log.Debug("probe", "card", w.cfg.Ports[i].Card, "err", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(w.cfg.Interval):
		}
	}
	return ctx.Err()
}

// read opens a card and hears frames until it fails.
func (w *Watcher) read(ctx context.Context, i int) error {
	conn, err := w.cfg.Open(w.cfg.Ports[i].Card)
	if err != nil {
		return err
	}
	defer conn.Close()
	w.mu.Lock()
	w.conns[i] = conn
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		w.conns[i] = nil
		w.mu.Unlock()
	}()
	for b := make([]byte, headerLen+maxSize); ctx.Err() == nil; {
		n, err := conn.Read(b)
		if err != nil {
			return fmt.Errorf("read from %s: %w", w.cfg.Ports[i].Card, err)
		}
		f, src, err := parse(b[:n])
		if err != nil {
			continue // anyone may send anything
		}
		w.mu.Lock()
		answer := w.core.receive(time.Now(), w.core.ports[i], f, src)
		w.mu.Unlock()
		if answer != nil {
			_, _ = conn.Write(answer) // one that is too long for this end is the fault to be found
		}
	}
	return nil
}

func (w *Watcher) tick() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, p := range w.core.ports {
		for _, b := range w.core.tick(time.Now(), p) {
			if w.conns[i] != nil {
				_, _ = w.conns[i].Write(b) // a lost probe is what a probe is for
			}
		}
	}
}

// Report says what is known of each port now.
func (w *Watcher) Report() ([]Report, error) {
	cards, err := w.cfg.Cards()
	if err != nil {
		return nil, fmt.Errorf("probe: %w", err)
	}
	byName := map[string]netcfg.Card{}
	for _, c := range cards {
		byName[c.Name] = c
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	out := make([]Report, len(w.core.ports))
	for i, p := range w.core.ports {
		c, there := byName[p.Card]
		out[i] = w.core.judge(p, c.Carrier)
		out[i].Speed = c.Speed
		if !there {
			out[i].Faults = []Fault{{NoCard, fmt.Sprintf("%s: the card %s is gone", p.Role, p.Card)}}
		}
	}
	return out, nil
}

type raw struct{ *packet.Conn }

func (r raw) Read(b []byte) (int, error) {
	n, _, err := r.ReadFrom(b)
	return n, err
}

func (r raw) Write(b []byte) (int, error) {
	return r.WriteTo(b, &packet.Addr{HardwareAddr: net.HardwareAddr(b[:6])})
}

// Raw opens a card of the calling thread's network namespace. It takes all frames
// and lets only ours pass, since those of one type alone never reach a socket on a
// card that belongs to a bridge.
func Raw(card string) (io.ReadWriteCloser, error) {
	ifi, err := net.InterfaceByName(card)
	if err != nil {
		return nil, fmt.Errorf("card %s: %w", card, err)
	}
	filter, err := bpf.Assemble([]bpf.Instruction{
		bpf.LoadAbsolute{Off: 12, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: EtherType, SkipFalse: 1},
		bpf.RetConstant{Val: headerLen + maxSize},
		bpf.RetConstant{Val: 0},
	})
	if err != nil {
		return nil, fmt.Errorf("filter: %w", err)
	}
	conn, err := packet.Listen(ifi, packet.Raw, unix.ETH_P_ALL, &packet.Config{Filter: filter})
	if err != nil {
		return nil, fmt.Errorf("raw socket on %s: %w", card, err)
	}
	return raw{conn}, nil
}
