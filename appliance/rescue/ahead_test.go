package rescue

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"beffroi.dev/appliance/operator"
	"beffroi.dev/appliance/pairing"
)

// slowInit answers what it is asked, each time after another while.
type slowInit struct {
	recorder
	pauses func() time.Duration

	mu  sync.Mutex // guards all
	all []operator.Ask
}

func (s *slowInit) Ask(_ context.Context, a operator.Ask) error {
	time.Sleep(s.pauses())
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, a)
	return nil
}

func (s *slowInit) asked() []operator.Ask {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]operator.Ask(nil), s.all...)
}

// All answers of a founding, pasted into a terminal in pieces of any size and with
// any pauses, reach init as they would one by one: no key is lost while the screen is
// drawn, while init thinks, or while one question takes the place of another.
func TestAPasteOfAllAnswersLosesNoKey(t *testing.T) {
	twin, witness := string(pairing.NewCode()), string(pairing.NewCode())
	paste := "m\rBeauval\r\r\r10.20.0.80\r\r" + twin + "\r\r" + witness + "\r10.9.9.9\r\t\r"
	r := asked
	r.Town, r.Here, r.There, r.Service = "Beauval", "main", "recovery", netip.MustParsePrefix("10.20.0.80/32")
	want := []operator.Ask{
		{Do: operator.Begin, Request: &r}, {Do: operator.Meet, Code: twin},
		{Do: operator.Meet, Witness: true, Code: witness, Address: "10.9.9.9"}, {Do: operator.Found},
	}
	s := healthy()
	blank(&s)
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 0))
		far := &slowInit{pauses: func() time.Duration { return time.Duration(rng.IntN(30)) * time.Millisecond }}
		typist := rand.New(rand.NewPCG(seed, 1))
		person, seen := atTerminal(t, s, far)
		eventually(t, "first screen", func() bool { return strings.Contains(seen(), "belongs to no pair") })
		for rest := paste; rest != ""; {
			n := len(rest)
			if seed > 0 { // the first one comes whole
				n = min(1+typist.IntN(8), n)
			}
			person(rest[:n])
			rest = rest[n:]
			time.Sleep(time.Duration(typist.IntN(4)) * time.Millisecond)
		}
		eventually(t, "all questions answered", func() bool { return len(far.asked()) >= len(want) })
		if d := cmp.Diff(want, far.asked(), cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{})); d != "" {
			t.Fatalf("seed %d: %s", seed, d)
		}
	}
}

// atTerminal runs the console on a real terminal of its own.
func atTerminal(t *testing.T, s Snapshot, a Actions) (person func(keys string), seen func() string) {
	t.Helper()
	master, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var out strings.Builder
	read := make(chan struct{})
	go func() {
		defer close(read)
		for b := make([]byte, 4096); ; {
			n, err := master.Read(b)
			if err != nil {
				return
			}
			mu.Lock()
			out.Write(b[:n])
			mu.Unlock()
		}
	}()
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	term := newTerminal(tty.Name())
	go func() {
		ended <- Run(ctx, term, fixed{snapshot: s}, a, Options{Lang: English, Zone: time.UTC, Log: slog.New(slog.DiscardHandler)})
	}()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		_ = term.Close()
		_ = tty.Close()
		_ = master.Close()
		<-read
	})
	return func(keys string) {
			if _, err := master.Write([]byte(keys)); err != nil {
				t.Fatal(err)
			}
		}, func() string {
			mu.Lock()
			defer mu.Unlock()
			return out.String()
		}
}

// What becomes of the keys that come before an answer.
func TestKeysBeforeAnAnswerBelongToTheNextQuestion(t *testing.T) {
	refusal := &pairing.Fault{Reason: pairing.CodeWrong}
	code := string(pairing.NewCode())
	for _, tt := range []struct {
		name, keys string
		answer     error
		title      string
		shows      string // on the screen then
		never      string
	}{
		{name: "they are typed into it", keys: "k7mq", title: "(3/4)", shows: "k7mq"},
		{name: "Enter alone answers nothing", keys: "\r\r\r", title: "(3/4)", shows: "The code that the witness shows"},
		{name: "a refusal drops them, and stays", keys: "k7mq\r\r", answer: refusal, title: "(2/4)", shows: "Failed: ", never: "k7mq"},
		{name: "who leaves takes them away", keys: "k7mq\x1b", title: "Menu", never: "k7mq"},
		{name: "who types elsewhere is not disturbed", keys: "\x1bOP8\rbeffroi", title: "Rescue shell", shows: "*******"},
		{name: "the language changes at once", keys: "k7\x1bOQmq", title: "(3/4)", shows: "k7mq"},
	} {
		s := healthy()
		blank(&s)
		s.Operator.Pairing.Act.Request = &asked
		m := model(English, s)
		asks := press(m, "m\r"+code+"\r\r")
		if len(asks) != 1 || asks[0].Ask == nil {
			t.Fatalf("%s: effects %+v", tt.name, asks)
		}
		if more := press(m, tt.keys); len(more) > 0 {
			t.Errorf("%s: before the answer: %+v", tt.name, more)
		}
		if more := m.Done(Result{Effect: asks[0], Err: tt.answer}); len(more) > 0 {
			t.Errorf("%s: with the answer: %+v", tt.name, more)
		}
		if got := m.View().Text(); strings.Contains(got, "left out") != (tt.answer != nil) {
			t.Errorf("%s: whether keys were dropped is not told:\n%s", tt.name, got)
		}
		m.Tick(night.Add(noticeFor + time.Minute)) // the line of news is long gone
		got := m.View().Text()
		if title := m.top().title(m); !strings.Contains(title, tt.title) || !strings.Contains(got, tt.shows) || tt.never != "" && strings.Contains(got, tt.never) {
			t.Errorf("%s: title %q, and\n%s", tt.name, title, got)
		}
	}
}

// A founding that is given up begins at its first question, however fast somebody is.
func TestAFoundingGivenUpBeginsAnew(t *testing.T) {
	s := healthy()
	blank(&s)
	ready(&s)
	m := model(English, s)
	asks := press(m, "m2\r")
	if len(asks) != 1 || asks[0].Ask == nil || asks[0].Ask.Do != operator.Cancel {
		t.Fatalf("effects %+v", asks)
	}
	m.Done(Result{Effect: asks[0]})
	press(m, "m\r")
	if got := m.top().title(m); got != "Found the pair (1/4)" {
		t.Errorf("the title is %q", got)
	}
}
