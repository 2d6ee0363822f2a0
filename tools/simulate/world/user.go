package world

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"beffroi.dev/pkg/block/mirror"
	"beffroi.dev/pkg/disk"
	"beffroi.dev/pkg/ident"
)

// user is what the citizen service is to a local group: one on each node, it opens the
// volume where that node leads, keeps in its memory what it has read, and writes what
// follows from that. Now and then it sleeps while its node does not, through whatever the
// group goes through meanwhile.
//
// It counts: each write is its memory and one. So a user that writes from an old memory,
// or opens a volume that lacks what was acknowledged before, or where an older write was
// carried out late, is found by a number that is too small.
type user struct {
	n      *node
	since  ident.Epoch // the reign it opened the volume in; 0: it has not
	memory uint64
	busy   bool
	asleep bool // as a process that was stopped
}

// localGroup is the one of genesis that is local.
const localGroup = ident.Group(3)

func (w *World) local() mirror.GroupSpec { return w.groups[localGroup-1] }

// shared are the groups whose requests are forwarded.
func (w *World) shared() []mirror.GroupSpec { return w.groups[:localGroup-1] }

// newUser begins with a life of its node, and ends with it.
func newUser(n *node) *user {
	u := &user{n: n}
	n.after(n.w.between(0, 50*time.Millisecond), u.turn)
	return u
}

func (u *user) turn() {
	w := u.n.w
	if w.load.stopped {
		return
	}
	if u.asleep {
		u.again()
		return
	}
	if u.since == 0 {
		if st, ok := u.n.status(localGroup); ok && st.Serving && st.Readable {
			u.open(st.Since)
			return
		}
		u.again()
		return
	}
	next, acked := u.memory+1, w.acked
	b := make([]byte, disk.BlockSize)
	binary.LittleEndian.PutUint64(b, next)
	u.ask(&disk.Request{Op: disk.Write, Len: disk.BlockSize, Data: b}, u.since, func(err error) {
		switch {
		case err != nil:
			u.since = 0
		case next <= acked:
			u.n.fail(fmt.Errorf("the user on %s writes %d from an old memory; %d was acknowledged", u.n.name, next, acked))
		default:
			// The answer may come late, after others went on from there.
			u.memory, w.acked = next, max(w.acked, next)
			w.count.States["user: written"]++
		}
	})
}

// open reads the volume; whatever was acknowledged before must be there.
func (u *user) open(since ident.Epoch) {
	w, r := u.n.w, &disk.Request{Op: disk.Read, Len: disk.BlockSize, Data: make([]byte, disk.BlockSize)}
	acked := w.acked
	u.ask(r, since, func(err error) {
		if err != nil {
			return
		}
		u.since, u.memory = since, binary.LittleEndian.Uint64(r.Data)
		if u.memory < acked {
			u.n.fail(fmt.Errorf("the user on %s opens its volume at %d; %d was acknowledged", u.n.name, u.memory, acked))
		}
		w.count.States["user: opened"]++
	})
}

// ask submits a request with the token of a reign.
func (u *user) ask(r *disk.Request, since ident.Epoch, done func(error)) {
	u.busy = true
	w := u.n.w
	r.Done = func(r *disk.Request) {
		u.busy = false
		w.note("user "+u.n.name, uint64(since), u.memory)
		if errors.Is(r.Err, disk.ErrClosed) {
			w.count.States["user: closed out"]++
		}
		done(r.Err)
		u.again()
	}
	u.n.core.Submit(localGroup, w.local().Volumes[0].ID, uint64(since), []*disk.Request{r})
}

func (u *user) again() {
	w := u.n.w
	pause := w.between(0, 60*time.Millisecond)
	if w.rng.IntN(20) == 0 {
		pause = w.between(0, 4*time.Second)
	}
	u.n.after(pause, u.turn)
}

// checkUser opens the local volume where it is led: the end of the count must be there.
func (w *World) checkUser() error {
	limit := w.clk.Now().Add(time.Minute)
	var u *user
	for u == nil || u.busy {
		for _, n := range w.nodes[:2] {
			if st, ok := n.status(localGroup); u == nil && ok && st.Serving && st.Readable {
				u = &user{n: n}
				n.on(func() { u.open(st.Since) })()
			}
		}
		if !w.step() || w.clk.Now() > limit {
			return fmt.Errorf("opening the local volume at the end got no answer: %s", w.describe())
		}
		if err := w.broken(); err != nil {
			return err
		}
	}
	if u.since == 0 {
		return fmt.Errorf("the local volume does not open at the end: %s", w.describe())
	}
	return nil
}
