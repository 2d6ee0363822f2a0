package guests

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"

	"beffroi.dev/pkg/ident"
)

// maxDrain bounds what may be asked for.
const maxDrain = 10 * time.Minute

// Drain is what the socket's drain takes: how long guests have to shut down. Asked
// again, the shorter time holds.
type Drain struct {
	BoundMS int64 `json:"bound_ms"`
}

// Draining is its answer, at once: the machines that still live.
type Draining struct {
	Alive []ident.VM `json:"alive"`
}

// drain is the wish that no guest runs here any more, because the node goes down. It
// holds for as long as this service lives.
type drain struct {
	mu    sync.Mutex // guards all below
	asked bool
	due   time.Time // when guests are killed
	alive []ident.VM
}

// Drained is what is done instead while the node goes down: nothing is started, and
// guests end by their power button, or by force when they are overdue.
func Drained(a Action, overdue bool) Action {
	switch a {
	case Start, Place:
		return Leave
	case Keep, ShutDown:
		if overdue {
			return Kill
		}
		return ShutDown
	}
	return a
}

// change is Drained, if it was asked for.
func (d *drain) change(a Action, now time.Time) Action {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.asked {
		return a
	}
	return Drained(a, !now.Before(d.due))
}

// see notes what lives now.
func (d *drain) see(alive []ident.VM) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.alive = alive
}

func (s *service) serveDrain(w http.ResponseWriter, r *http.Request) {
	var ask Drain
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1024))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&ask); err != nil || ask.BoundMS < 0 || ask.BoundMS > maxDrain.Milliseconds() {
		http.Error(w, fmt.Sprintf("drain: use {\"bound_ms\": 0 to %d}", maxDrain.Milliseconds()), http.StatusBadRequest)
		return
	}
	due := time.Now().Add(time.Duration(ask.BoundMS) * time.Millisecond)
	s.drain.mu.Lock()
	if !s.drain.asked || due.Before(s.drain.due) {
		s.drain.due = due
	}
	if !s.drain.asked {
		s.log.Info("guests are shut down: the node goes down", "bound", time.Duration(ask.BoundMS)*time.Millisecond)
	}
	s.drain.asked = true
	out := Draining{Alive: append([]ident.VM{}, s.drain.alive...)}
	s.drain.mu.Unlock()
	s.poke()
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(out) // the other end of a local socket is gone: nothing to tell it
}
