package volume

import (
	"reflect"

	"beffroi.dev/pkg/block/mirror"
)

// Status is what the engine publishes, at every tick.
type Status struct {
	Groups   []mirror.GroupStatus
	Stats    mirror.Stats
	Free     uint64 // blocks that data can still use
	Capacity uint64 // blocks of the store
	Linked   bool   // a data session with the twin stands
	Failed   error  // of the device
}

// publish makes a copy of the core's state for readers. It runs on the loop.
func (e *Engine) publish() {
	var s Status
	for _, id := range e.core.Groups() {
		if g, ok := e.core.Status(id); ok {
			s.Groups = append(s.Groups, g)
		}
	}
	s.Stats = e.core.Stats()
	s.Free, s.Capacity = e.core.Space()
	s.Linked = e.core.Session() != 0
	s.Failed = e.core.Failed()
	e.pubMu.Lock()
	defer e.pubMu.Unlock()
	moved := len(s.Groups) != len(e.status.Groups) || s.Linked != e.status.Linked || (s.Failed == nil) != (e.status.Failed == nil)
	for i := 0; !moved && i < len(s.Groups); i++ {
		moved = roles(s.Groups[i]) != roles(e.status.Groups[i]) || !reflect.DeepEqual(s.Groups[i].InSync, e.status.Groups[i].InSync)
	}
	e.status = s
	if moved {
		close(e.changed)
		e.changed = make(chan struct{})
	}
}

// role is the part of a group's status that others act on.
type role struct {
	epoch             uint64
	serving, readable bool
	copies            int
}

func roles(g mirror.GroupStatus) role {
	return role{uint64(g.Epoch), g.Serving, g.Readable, g.Copies}
}

// Status returns the newest published state, and a channel that is closed when
// a role in it changed.
func (e *Engine) Status() (Status, <-chan struct{}) {
	e.pubMu.Lock()
	defer e.pubMu.Unlock()
	return e.status, e.changed
}
