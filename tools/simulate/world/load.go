package world

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/anishathalye/porcupine"

	"beffroi.dev/pkg/disk"
	"beffroi.dev/pkg/ident"
)

// The load: clients on both nodes that each have one request outstanding. All
// read everything; each writes units of its own, as each volume has one writer
// in the product: an unacknowledged write may be carried out twice (NBD clients
// send again after a reconnect), and only another writer could tell. A unit of
// half a block is one register of the history; the units of two clients meet in
// one block, so that merges are checked too.
const (
	unit          = disk.BlockSize / 2
	volumeBlocks  = 24
	volumeSize    = volumeBlocks * disk.BlockSize
	clientsPerEnd = 4
	unitsEach     = 5
)

// ownUnits is the first of the units that a client writes: odd, so that its
// first unit shares a block with the last one of the client before.
func ownUnits(client int) int { return 1 + client*unitsEach }

type register struct {
	volume ident.Volume
	unit   int
}

// call is one access of one register.
type call struct {
	write bool
	value uint64
}

type load struct {
	w       *World
	clients []*client
	issued  int
	value   uint64
	stopped bool
	history map[register][]porcupine.Operation
	keys    []register // in order of first use
}

type client struct {
	l       *load
	id      int
	node    *node
	busy    bool
	serial  int
	attempt *attempt
}

// attempt is one request and what it was meant to do.
type attempt struct {
	req   *disk.Request
	group ident.Group
	vol   ident.Volume
	first int // unit
	units int
	value uint64 // written; 0 for zeros
	start int64
}

func newLoad(w *World) *load {
	return &load{w: w, history: map[register][]porcupine.Operation{}}
}

func (l *load) begin() {
	for i := range 2 * clientsPerEnd {
		c := &client{l: l, id: i, node: l.w.nodes[i%2]}
		l.clients = append(l.clients, c)
		l.w.After(l.w.between(0, 20*time.Millisecond), c.next)
	}
}

// move takes the clients of a lost machine to the one in its place; what they asked may
// or may not have happened. One stays with the first such machine, should it run on.
func (l *load) move(lost, fresh *node) {
	for _, c := range l.clients {
		if c.node == lost {
			if c.busy {
				c.lost()
			}
			c.node = fresh
		}
	}
	if len(l.clients) == 2*clientsPerEnd {
		c := &client{l: l, id: len(l.clients), node: lost}
		l.clients = append(l.clients, c)
		l.w.After(l.w.between(0, 20*time.Millisecond), c.next)
	}
}

func (l *load) stop() { l.stopped = true }

func (l *load) quiet() bool {
	for _, c := range l.clients {
		if c.busy {
			return false
		}
	}
	return true
}

func (l *load) describe() string {
	n := 0
	for _, c := range l.clients {
		if c.busy {
			n++
		}
	}
	return fmt.Sprintf("requests issued %d, outstanding %d", l.issued, n)
}

func (c *client) next() {
	w := c.l.w
	if c.l.stopped || c.busy {
		return
	}
	if !c.node.ready() || c.node.core.VolumeSize(w.groups[0].ID, w.groups[0].Volumes[0].ID) == 0 {
		w.After(w.between(5*time.Millisecond, 50*time.Millisecond), c.next)
		return
	}
	groups := w.shared()
	spec := groups[w.rng.IntN(len(groups))]
	a := &attempt{group: spec.ID, vol: spec.Volumes[w.rng.IntN(len(spec.Volumes))].ID, start: int64(w.clk.Now())}
	r := &disk.Request{Op: disk.Read}
	if k := w.rng.IntN(100); k < 45 {
		a.first = w.rng.IntN(volumeBlocks * 2)
		a.units = 1 + w.rng.IntN(min(6, volumeBlocks*2-a.first))
	} else {
		r.Op = disk.Write
		if k > 92 {
			r.Op = disk.Zero
		}
		own := ownUnits(c.id)
		a.first = own + w.rng.IntN(unitsEach)
		a.units = 1 + w.rng.IntN(own+unitsEach-a.first)
	}
	r.Off, r.Len = int64(a.first)*unit, int64(a.units)*unit
	switch r.Op {
	case disk.Read:
		r.Data = make([]byte, r.Len)
	case disk.Write:
		c.l.value++
		a.value = c.l.value
		r.Data = make([]byte, r.Len)
		for i := range a.units {
			binary.LittleEndian.PutUint64(r.Data[i*unit:], a.value)
		}
	}
	c.issue(a, r)
}

func (c *client) issue(a *attempt, r *disk.Request) {
	w := c.l.w
	c.serial++
	serial := c.serial
	a.req = r
	c.busy, c.attempt = true, a
	c.l.issued++
	w.count.Ops++
	r.Done = func(r *disk.Request) {
		if serial == c.serial {
			c.finished(a)
		}
	}
	c.node.submit(a.group, a.vol, r)
}

// finished takes the answer.
func (c *client) finished(a *attempt) {
	w := c.l.w
	c.busy = false
	w.note("answer", uint64(c.id), uint64(a.req.Op), uint64(a.first), a.value)
	switch err := a.req.Err; {
	case err == nil:
		w.count.Acked++
		c.record(a, int64(w.clk.Now()))
	default:
		// Even a refusal may come from the second try of a request whose first
		// one is in the tail of a primary that died.
		w.count.States["error: "+rootCause(err)]++
		w.count.Unknown++
		c.record(a, -1)
	}
	w.After(w.between(0, 30*time.Millisecond), c.next)
}

// lost is called when the client's node died: whatever was outstanding may or
// may not have happened.
func (c *client) lost() {
	if c.busy {
		c.l.w.count.Unknown++
		c.record(c.attempt, -1)
		c.busy = false
		c.serial++
	}
	c.l.w.After(10*time.Millisecond, c.next)
}

// record adds an access to the history of each register it touched. end is -1
// when the outcome is unknown.
func (c *client) record(a *attempt, end int64) {
	read := a.req.Op == disk.Read
	if read && end < 0 {
		return
	}
	for i := range a.units {
		key := register{a.vol, a.first + i}
		if c.l.history[key] == nil {
			c.l.keys = append(c.l.keys, key)
		}
		o := porcupine.Operation{ClientId: c.id, Call: a.start, Return: end, Input: call{!read, a.value}}
		if read {
			o.Output = binary.LittleEndian.Uint64(a.req.Data[i*unit:])
		}
		c.l.history[key] = append(c.l.history[key], o)
	}
}

func rootCause(err error) string {
	for _, e := range []error{disk.ErrNoSpace, disk.ErrClosed, disk.ErrTimeout, disk.ErrCorrupt} {
		if errors.Is(err, e) {
			return e.Error()
		}
	}
	return "input/output"
}

var registerModel = porcupine.Model{
	Init: func() any { return uint64(0) },
	Step: func(state, input, output any) (bool, any) {
		if in := input.(call); in.write {
			return true, in.value
		}
		return output.(uint64) == state.(uint64), state
	},
}

// check holds the history of every register against a single copy.
func (l *load) check() error {
	end := int64(l.w.clk.Now()) + 1
	for _, key := range l.keys {
		ops := append([]porcupine.Operation(nil), l.history[key]...)
		for i := range ops {
			if ops[i].Return < 0 {
				// It may take effect at any time to come; each has a client of
				// its own, since porcupine forbids a client two calls at once.
				ops[i].Return, ops[i].ClientId = end, 1000+i
			}
		}
		switch r := porcupine.CheckOperationsTimeout(registerModel, ops, 20*time.Second); r {
		case porcupine.Ok:
		case porcupine.Illegal:
			return fmt.Errorf("volume %d unit %d: the history of %d accesses is not that of one disk:%s", key.volume, key.unit, len(ops), l.print(key))
		default:
			return fmt.Errorf("volume %d unit %d: history of %d accesses could not be decided", key.volume, key.unit, len(ops))
		}
	}
	return nil
}

// print lists the history of one register.
func (l *load) print(key register) string {
	s := ""
	for _, o := range l.history[key] {
		in := o.Input.(call)
		end := "?"
		if o.Return >= 0 {
			end = fmt.Sprintf("%.6f", float64(o.Return)/1e9)
		}
		what := fmt.Sprintf("read  %v", o.Output)
		if in.write {
			what = fmt.Sprintf("write %d", in.value)
		}
		s += fmt.Sprintf("\n    client %d: %.6f to %s: %s", o.ClientId, float64(o.Call)/1e9, end, what)
	}
	return s
}
