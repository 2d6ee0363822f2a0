package transporttest

import (
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"testing"

	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/transport"
)

// The names of the two data paths of a World, the better one first.
const (
	Path1 = "fibre1"
	Path2 = "fibre2"
)

// World is two ends, 0 and 1, joined by Path1 and Path2.
type World interface {
	// ID is the identity of an end.
	ID(end int) ident.Node
	// Start starts an end, or starts it again after Crash.
	Start(end int, h transport.Handler) transport.Endpoint
	// Crash makes an end vanish without a goodbye.
	Crash(end int)
	// Cut silences one direction of a path; Heal mends it.
	Cut(from, to int, path string)
	Heal(from, to int, path string)
	// Await lets time pass until cond holds, and fails the test when it does not
	// within a time that is long for this world.
	Await(what string, cond func() bool)
}

// Log is a Handler that records, and reports breaches of the contract.
type Log struct {
	t    *testing.T
	name string

	mu       sync.Mutex // guards all below
	busy     map[ident.Node]bool
	session  map[ident.Node]uint64 // 0: none
	highest  map[ident.Node]uint64
	paths    []string
	downs    int
	control  map[string]int
	data     map[uint64][]string // by session
	receives int
}

// NewLog makes an empty record.
func NewLog(t *testing.T, name string) *Log {
	return &Log{
		t: t, name: name, busy: map[ident.Node]bool{}, session: map[ident.Node]uint64{},
		highest: map[ident.Node]uint64{}, control: map[string]int{}, data: map[uint64][]string{},
	}
}

func (l *Log) enter(peer ident.Node) func() {
	l.mu.Lock()
	if l.busy[peer] {
		l.t.Errorf("%s: two handler calls for one peer at once", l.name)
	}
	l.busy[peer] = true
	return func() { l.busy[peer] = false; l.mu.Unlock() }
}

// Control records.
func (l *Log) Control(from ident.Node, msg []byte) {
	defer l.enter(from)()
	l.control[string(msg)]++
}

// SessionUp records and checks.
func (l *Log) SessionUp(peer ident.Node, session uint64, path string) {
	defer l.enter(peer)()
	if l.session[peer] != 0 {
		l.t.Errorf("%s: session %d up while %d is", l.name, session, l.session[peer])
	}
	if session <= l.highest[peer] {
		l.t.Errorf("%s: session %d after %d; want numbers to grow", l.name, session, l.highest[peer])
	}
	l.session[peer], l.highest[peer] = session, session
	l.paths = append(l.paths, path)
}

// Data records and checks.
func (l *Log) Data(peer ident.Node, session uint64, msg []byte) {
	defer l.enter(peer)()
	if session != l.session[peer] {
		l.t.Errorf("%s: data of session %d while the current one is %d", l.name, session, l.session[peer])
	}
	l.data[session] = append(l.data[session], string(msg))
	l.receives++
}

// SessionDown records and checks.
func (l *Log) SessionDown(peer ident.Node, session uint64, err error) {
	defer l.enter(peer)()
	if session != l.session[peer] {
		l.t.Errorf("%s: session %d down while the current one is %d", l.name, session, l.session[peer])
	}
	if err == nil {
		l.t.Errorf("%s: session %d down without a cause", l.name, session)
	}
	l.session[peer] = 0
	l.downs++
}

// Session is the current session with a peer, 0 when there is none.
func (l *Log) Session(peer ident.Node) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.session[peer]
}

// Downs counts ended sessions.
func (l *Log) Downs() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.downs
}

// Received counts data messages.
func (l *Log) Received() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.receives
}

// LastPath is the path of the latest session.
func (l *Log) LastPath() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.paths) == 0 {
		return ""
	}
	return l.paths[len(l.paths)-1]
}

// Heard counts the arrivals of one control message.
func (l *Log) Heard(msg string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.control[msg]
}

// Of returns what a session delivered.
func (l *Log) Of(session uint64) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.data[session])
}

// pair is a started World.
type pair struct {
	t    *testing.T
	w    World
	logs [2]*Log
	ends [2]transport.Endpoint
}

func start(t *testing.T, w World) *pair {
	p := &pair{t: t, w: w}
	for i := range p.ends {
		p.boot(i)
	}
	p.joined()
	return p
}

func (p *pair) boot(i int) {
	p.logs[i] = NewLog(p.t, fmt.Sprintf("end %d", i))
	p.ends[i] = p.w.Start(i, p.logs[i])
}

func (p *pair) session(i int) uint64 { return p.logs[i].Session(p.w.ID(1 - i)) }

func (p *pair) joined() {
	p.t.Helper()
	p.w.Await("a session on both ends", func() bool { return p.session(0) != 0 && p.session(1) != 0 })
}

// send sends numbered messages from end i on its current session and returns
// how many were taken.
func (p *pair) send(i, n int) int {
	s := p.session(i)
	for k := range n {
		var head [8]byte
		binary.BigEndian.PutUint64(head[:], uint64(k))
		if !p.ends[i].Send(p.w.ID(1-i), s, head[:], make([]byte, k%5*7000)) {
			return k
		}
	}
	return n
}

// exchange sees n messages of end i arrive in one session. A session may end
// for a reason of the world's own; then they are sent again on the next.
func (p *pair) exchange(i, n int) {
	p.t.Helper()
	var on uint64
	p.w.Await("data", func() bool {
		if s := p.session(i); s != 0 && s != on && p.send(i, n) == n && p.session(i) == s {
			on = s
		}
		r := p.session(1 - i)
		return r != 0 && len(p.logs[1-i].Of(r)) == n
	})
	inOrder(p.t, p.logs[1-i].Of(p.session(1-i)))
}

// inOrder checks that got is messages 0, 1, 2... without a gap.
func inOrder(t *testing.T, got []string) {
	t.Helper()
	for k, m := range got {
		if n := binary.BigEndian.Uint64([]byte(m)); n != uint64(k) || len(m) != 8+k%5*7000 {
			t.Fatalf("message %d: got number %d of %d bytes; want number %d of %d bytes", k, n, len(m), k, 8+k%5*7000)
		}
	}
}
