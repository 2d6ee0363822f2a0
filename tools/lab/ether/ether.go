// Package ether is the cables of a lab of virtual machines: a Segment repeats
// every frame to all its other ports, as a cable between two ports or an old hub
// between more does.
//
// It sends by no addresses, so it adds nothing of its own to a switch of the
// service address; which card spoke at which port it remembers for who looks. A port
// is a unix socket that QEMU's stream network device connects to; what crosses it is,
// for each frame, its length as 32 bits, big-endian, and the frame. A port can be cut
// in either direction, delayed and made lossy; a cut is silent.
package ether

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxFrame is more than a jumbo frame, and what QEMU sends at most with
	// segmentation offload.
	maxFrame = 68 << 10
	// queueFrames is what waits toward one port; a full queue drops, as a switch does.
	queueFrames = 1024
)

// Shape is how one direction of a port behaves.
type Shape struct {
	Cut   bool
	Delay time.Duration
	Loss  float64 // share of frames that are lost
}

// Segment joins ports.
type Segment struct {
	mu     sync.Mutex // guards ports and their shapes, and what was seen
	ports  map[*Port]bool
	seen   map[seenKey]Sighting
	frames uint64
}

// NewSegment makes an empty one.
func NewSegment() *Segment { return &Segment{ports: map[*Port]bool{}, seen: map[seenKey]Sighting{}} }

// Port is one socket of a segment.
type Port struct {
	segment atomic.Pointer[Segment] // changed under the locks of both
	name    string
	queue   chan packet

	sender   net.HardwareAddr // the only one that frames may come from; nil: any
	in, out  Shape            // guarded by segment.mu: from the machine, to the machine
	off      bool             // guarded by segment.mu: the machine has no power
	received uint64
	conn     net.Conn // guarded by segment.mu: the newest
}

type packet struct {
	frame []byte
	due   time.Time
}

// Add makes a port.
func (s *Segment) Add(name string) *Port {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := &Port{name: name, queue: make(chan packet, queueFrames)}
	p.segment.Store(s)
	s.ports[p] = true
	return p
}

// AddHost makes a port for a machine that is a switch as well, and would send back what
// is not for itself: only what it sends under its own address goes on.
func (s *Segment) AddHost(name string, own net.HardwareAddr) *Port {
	p := s.Add(name)
	p.sender = own
	return p
}

// lock locks the segment that the port is in, and returns it.
func (p *Port) lock() *Segment {
	for {
		s := p.segment.Load()
		s.mu.Lock()
		if p.segment.Load() == s {
			return s
		}
		s.mu.Unlock() // it was moved meanwhile
	}
}

// Move pulls the port's cable and plugs it into another segment. One caller at a time.
func (p *Port) Move(to *Segment) {
	from := p.lock()
	defer from.mu.Unlock()
	if from == to {
		return
	}
	to.mu.Lock()
	defer to.mu.Unlock()
	delete(from.ports, p)
	to.ports[p] = true
	p.segment.Store(to)
}

// Set changes how the two directions of a port behave: in is what comes from its
// machine, out what goes to it.
func (p *Port) Set(change func(in, out *Shape)) {
	defer p.lock().mu.Unlock()
	change(&p.in, &p.out)
}

// Shapes returns how the two directions behave now.
func (p *Port) Shapes() (in, out Shape) {
	defer p.lock().mu.Unlock()
	return p.in, p.out
}

// Power silences a port, or wakes it.
func (p *Port) Power(on bool) {
	defer p.lock().mu.Unlock()
	p.off = !on
}

// Listen takes connections on a unix socket, one after the other, until ctx ends.
func (p *Port) Listen(ctx context.Context, path string) error {
	_ = os.Remove(path) // of an earlier life
	l, err := net.Listen("unix", path)
	if err != nil {
		return fmt.Errorf("port %s: %w", p.name, err)
	}
	go func() {
		defer context.AfterFunc(ctx, func() { _ = l.Close() })()
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			p.Attach(ctx, c)
		}
	}()
	return nil
}

// Attach joins a connection to the port in place of the one before.
func (p *Port) Attach(ctx context.Context, c net.Conn) {
	s := p.lock()
	old := p.conn
	p.conn = c
	s.mu.Unlock()
	if old != nil {
		_ = old.Close()
	}
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	ended := make(chan struct{})
	go func() { defer stop(); defer close(ended); p.read(c) }()
	go p.write(c, ended)
}

func (p *Port) read(c net.Conn) {
	r := bufio.NewReaderSize(c, 128<<10)
	var h [4]byte
	for {
		if _, err := io.ReadFull(r, h[:]); err != nil {
			return
		}
		n := binary.BigEndian.Uint32(h[:])
		if n > maxFrame {
			_ = c.Close() // no frame any more: the stream cannot be followed
			return
		}
		frame := make([]byte, n)
		if _, err := io.ReadFull(r, frame); err != nil {
			return
		}
		p.repeat(frame)
	}
}

// repeat hands a frame to every other port of the segment.
func (p *Port) repeat(frame []byte) {
	s := p.lock()
	defer s.mu.Unlock()
	p.received++
	if p.off || !p.in.passes() || p.sender != nil && !sentBy(frame, p.sender) {
		return
	}
	s.note(p, frame)
	for to := range s.ports {
		if to == p || to.off || !to.out.passes() {
			continue
		}
		select {
		case to.queue <- packet{frame, time.Now().Add(p.in.Delay + to.out.Delay)}:
		default: // full: dropped
		}
	}
}

// sentBy compares the sender of an Ethernet frame: its second six bytes.
func sentBy(frame []byte, sender net.HardwareAddr) bool {
	return len(frame) >= 12 && bytes.Equal(frame[6:12], sender)
}

func (s Shape) passes() bool { return !s.Cut && (s.Loss == 0 || rand.Float64() >= s.Loss) }

func (p *Port) write(c net.Conn, ended <-chan struct{}) {
	for {
		var k packet
		select {
		case <-ended:
			return
		case k = <-p.queue:
		}
		if d := time.Until(k.due); d > 0 {
			select {
			case <-ended:
				return
			case <-time.After(d):
			}
		}
		b := binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(k.frame)), uint32(len(k.frame)))
		if _, err := c.Write(append(b, k.frame...)); err != nil {
			return
		}
	}
}
