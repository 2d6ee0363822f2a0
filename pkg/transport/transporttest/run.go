package transporttest

import (
	"testing"

	"beffroi.dev/pkg/transport"
)

// Run checks everything that transport promises of an Endpoint.
func Run(t *testing.T, newWorld func(t *testing.T) World) {
	for _, tc := range []struct {
		name string
		run  func(t *testing.T, w World)
	}{
		{"messages of a session arrive in order and exactly once, both ways", order},
		{"a message to a session that is not current is refused", stale},
		{"control messages arrive over a live path", control},
		{"the first data path in order carries the session", firstPath},
		{"a path cut one way is noticed by both ends, and the other path takes over", oneWay},
		{"a path that heals carries a session again", heal},
		{"nothing of an ended session is delivered", ended},
		{"an end that crashed and came back gets a new session", crash},
		{"every path reports itself", report},
	} {
		t.Run(tc.name, func(t *testing.T) { tc.run(t, newWorld(t)) })
	}
}

func order(t *testing.T, w World) {
	p := start(t, w)
	const n = 500
	for i := range p.ends {
		if got := p.send(i, n); got != n {
			t.Fatalf("end %d took %d of %d messages; its session is %d", i, got, n, p.session(i))
		}
	}
	for i := range p.ends {
		w.Await("all messages", func() bool { return p.logs[i].Received() >= n })
		got := p.logs[i].Of(p.session(i))
		if len(got) != n {
			t.Fatalf("end %d received %d messages; want %d", i, len(got), n)
		}
		inOrder(t, got)
	}
}

func stale(t *testing.T, w World) {
	p := start(t, w)
	for _, s := range []uint64{0, p.session(0) + 1} {
		if p.ends[0].Send(w.ID(1), s, []byte("x")) {
			t.Errorf("Send on session %d succeeded; the current one is %d", s, p.session(0))
		}
	}
	if p.ends[0].Send(99, p.session(0), []byte("x")) {
		t.Error("Send to a stranger succeeded")
	}
	p.ends[0].SendControl(99, []byte("x"))
}

func control(t *testing.T, w World) {
	p := start(t, w)
	heard := func() bool {
		p.ends[0].SendControl(w.ID(1), []byte("ding"))
		p.ends[1].SendControl(w.ID(0), []byte("dong"))
		return p.logs[1].Heard("ding") > 0 && p.logs[0].Heard("dong") > 0
	}
	w.Await("control both ways", heard)
	w.Cut(0, 1, Path1)
	w.Cut(1, 0, Path1)
	before := p.logs[1].Heard("ding")
	w.Await("control over the other path", func() bool { heard(); return p.logs[1].Heard("ding") > before })
}

func firstPath(t *testing.T, w World) {
	w.Cut(0, 1, Path2)
	p := start(t, w)
	for i, l := range p.logs {
		if got := l.LastPath(); got != Path1 {
			t.Errorf("end %d: session over %s; want %s", i, got, Path1)
		}
	}
}

func oneWay(t *testing.T, w World) {
	for from := range 2 {
		p := start(t, w)
		on := p.logs[0].LastPath()
		downs := [2]int{p.logs[0].Downs(), p.logs[1].Downs()}
		w.Cut(from, 1-from, on)
		w.Await("both ends to notice", func() bool { return p.logs[0].Downs() > downs[0] && p.logs[1].Downs() > downs[1] })
		p.joined()
		w.Await("the other path", func() bool { return p.logs[0].LastPath() != on && p.logs[1].LastPath() != on })
		p.joined()
		w.Heal(from, 1-from, on)
		w.Crash(0)
		w.Crash(1)
	}
}

func heal(t *testing.T, w World) {
	p := start(t, w)
	for _, path := range []string{Path1, Path2} {
		w.Cut(0, 1, path)
		w.Cut(1, 0, path)
	}
	w.Await("both ends to be alone", func() bool { return p.session(0) == 0 && p.session(1) == 0 })
	w.Heal(0, 1, Path2)
	w.Heal(1, 0, Path2)
	p.joined()
	for i, l := range p.logs {
		if got := l.LastPath(); got != Path2 {
			t.Errorf("end %d: session over %s; want %s", i, got, Path2)
		}
	}
	// What was sent on the new session arrives: the path truly works.
	p.exchange(0, 3)
}

func ended(t *testing.T, w World) {
	p := start(t, w)
	first := [2]uint64{p.session(0), p.session(1)}
	p.send(0, 200)
	p.send(1, 200)
	for _, path := range []string{Path1, Path2} {
		w.Cut(0, 1, path)
	}
	w.Await("both sessions to end", func() bool { return p.session(0) != first[0] && p.session(1) != first[1] })
	if p.ends[0].Send(w.ID(1), first[0], []byte("late")) {
		t.Error("Send on the ended session succeeded")
	}
	for _, path := range []string{Path1, Path2} {
		w.Heal(0, 1, path)
	}
	p.joined()
	p.exchange(0, 50)
	for i, l := range p.logs { // Log itself reports data out of its session
		inOrder(t, l.Of(first[i]))
		inOrder(t, l.Of(p.session(i)))
	}
}

func crash(t *testing.T, w World) {
	p := start(t, w)
	for i := range p.ends {
		old := p.session(1 - i)
		w.Crash(i)
		p.boot(i)
		w.Await("the survivor's new session", func() bool { s := p.session(1 - i); return s > old })
		p.joined()
		p.exchange(1-i, 5)
	}
}

func report(t *testing.T, w World) {
	p := start(t, w)
	up := func(end int) (n int, sessions int) {
		for _, st := range p.ends[end].Paths() {
			if st.Peer != w.ID(1-end) {
				t.Fatalf("end %d reports peer %v; want %v", end, st.Peer, w.ID(1-end))
			}
			if st.Up {
				n++
			} else if st.Reason == "" {
				t.Errorf("end %d: path %s is down without a reason", end, st.Path)
			}
			if st.Session {
				sessions++
			}
		}
		return n, sessions
	}
	for end := range p.ends {
		w.Await("both paths up", func() bool { n, s := up(end); return n == 2 && s == 1 })
	}
	w.Cut(1, 0, Path1)
	for end := range p.ends {
		w.Await("one path down", func() bool { n, _ := up(end); return n == 1 })
	}
}

var _ transport.Handler = (*Log)(nil)
