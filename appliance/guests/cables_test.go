package guests

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/cluster"
	"beffroi.dev/pkg/task"
)

// maker has taps; those of a VM in use are kept, as init keeps them.
type maker struct {
	mu    sync.Mutex // guards all below
	taps  map[ident.VM]int
	open  ident.VM
	fail  error
	looks int
}

func (m *maker) List(context.Context) ([]ident.VM, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.looks++
	return slices.Sorted(maps.Keys(m.taps)), m.fail
}

func (m *maker) Plug(_ context.Context, id ident.VM) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return []string{"t0", "t1"}[:m.taps[id]], m.fail
}

func (m *maker) Unplug(_ context.Context, id ident.VM) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if id == m.open {
		return errors.New("a QEMU has it open")
	}
	delete(m.taps, id)
	return nil
}

func (m *maker) left() []ident.VM {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(maps.Keys(m.taps))
}

func TestTapsStayForWhatLivesStartsOrMayLive(t *testing.T) {
	m := &maker{taps: map[ident.VM]int{1: 1, 2: 1, 3: 1, 4: 1}, open: 3}
	c := newCables(m, slog.New(slog.DiscardHandler))
	again, release := c.hold(2), c.hold(2)
	for _, step := range []struct {
		do   func()
		want []ident.VM
	}{
		{func() {}, []ident.VM{1, 2, 3}}, // 4 has ended; 3 is not known here, and open
		{again, []ident.VM{1, 2, 3}},     // of two starts under way one has ended
		{release, []ident.VM{1, 3}},      // it failed
	} {
		step.do()
		if err := c.tidy(t.Context(), []ident.VM{1}); err != nil {
			t.Fatal(err)
		}
		if got := m.left(); !slices.Equal(got, step.want) {
			t.Errorf("taps of %v; want %v", got, step.want)
		}
	}
	m.fail = errors.New("init is away")
	if err := c.tidy(t.Context(), nil); err == nil || !slices.Equal(m.left(), []ident.VM{1, 3}) {
		t.Errorf("tidy = %v, taps of %v", err, m.left())
	}
}

func TestAnEndIsFollowedAndNothingElseIsAskedAgainAtOnce(t *testing.T) {
	m := &maker{taps: map[ident.VM]int{1: 1, 2: 1}}
	c := newCables(m, slog.New(slog.DiscardHandler))
	tasks := task.New(t.Context())
	tasks.Go("cables", c.run)
	defer func() {
		if err := tasks.Stop(20 * time.Second); err != nil {
			t.Error(err)
		}
	}()
	for _, alive := range [][]ident.VM{{1, 2}, {1}, {}} {
		for end := time.Now().Add(20 * time.Second); !slices.Equal(m.left(), alive); time.Sleep(time.Millisecond) {
			for range 100 {
				c.see(alive) // as often as a tick comes
			}
			if time.Now().After(end) {
				t.Fatalf("taps of %v; want %v", m.left(), alive)
			}
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.looks > 10 {
		t.Errorf("%d looks at three sets of guests", m.looks)
	}
}

func TestCardsAreTheTapsInTheirOrder(t *testing.T) {
	m := &maker{taps: map[ident.VM]int{1: 2}}
	c := newCables(m, slog.New(slog.DiscardHandler))
	v := cluster.VM{ID: 1, Name: "mail", Cards: []cluster.Card{{MAC: "52:00:00:00:00:01"}, {MAC: "52:00:00:00:00:02"}}}
	got, err := c.plug(t.Context(), v)
	if err != nil || len(got) != 2 || got[0].Link != "t0" || got[1].Link != "t1" || got[1].MAC != v.Cards[1].MAC {
		t.Errorf("plug = %+v, %v", got, err)
	}
	v.Cards = v.Cards[:1] // the state at hand and init's are not of one moment
	if _, err := c.plug(t.Context(), v); err == nil || !strings.Contains(err.Error(), "2 taps for 1 cards") {
		t.Errorf("plug = %v", err)
	}
	m.fail = errors.New("init is away")
	if _, err := c.plug(t.Context(), v); err == nil || !strings.Contains(err.Error(), "network of mail") {
		t.Errorf("plug = %v", err)
	}
	v.Cards = nil
	for name, c := range map[string]*cables{"a VM without cards": c, "process mode": newCables(nil, slog.New(slog.DiscardHandler))} {
		if got, err := c.plug(t.Context(), v); err != nil || got != nil {
			t.Errorf("%s: plug = %v, %v", name, got, err)
		}
	}
}
