package front_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"beffroi.dev/pkg/citizen/front"
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

const token = "?jeton=abcdefghijklmnopqrstuvwxyz"

// rig is a front whose target a test moves.
type rig struct {
	*httptest.Server
	target atomic.Pointer[front.Target]
}

func newRig(t *testing.T, change func(*front.Config)) *rig {
	t.Helper()
	r := &rig{}
	r.target.Store(&front.Target{})
	cfg := front.DefaultConfig()
	cfg.Hold = 3 * time.Second
	if change != nil {
		change(&cfg)
	}
	f, err := front.New(t.Context(), cfg, func() front.Target { return *r.target.Load() }, quiet)
	if err != nil {
		t.Fatal(err)
	}
	r.Server = httptest.NewServer(f)
	t.Cleanup(func() {
		r.Close()
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// node is a server that echoes, and counts what reached it.
type node struct {
	*httptest.Server
	seen atomic.Int32
	do   atomic.Pointer[http.HandlerFunc] // instead of echoing
}

func newNode(t *testing.T, name string) *node {
	t.Helper()
	n := &node{}
	n.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		n.seen.Add(1)
		if f := n.do.Load(); f != nil {
			(*f)(w, r)
			return
		}
		fmt.Fprintf(w, "%s %s %s %s %s %s", name, r.Method, r.URL.RequestURI(), r.Host, r.Header.Get("X-Forwarded-For"), b)
	}))
	t.Cleanup(n.Close)
	return n
}

func (n *node) addr() string { return n.Listener.Addr().String() }

func ask(t *testing.T, method, url, body string) (int, string) {
	t.Helper()
	q, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b)
}

func TestRequestsReachWhoServesUnchanged(t *testing.T) {
	r, a := newRig(t, nil), newNode(t, "a")
	r.target.Store(&front.Target{Addr: a.addr()})
	status, body := ask(t, "POST", r.URL+"/x?y=1", "hello")
	if want := "a POST /x?y=1 " + r.Listener.Addr().String() + " 127.0.0.1 hello"; status != 200 || body != want {
		t.Errorf("got %d %q; want %q", status, body, want)
	}
	r.target.Store(&front.Target{Local: http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("X-Here", "yes")
		w.WriteHeader(http.StatusTeapot)
		fmt.Fprint(w, "here ", q.RemoteAddr != "")
	})})
	if status, body := ask(t, "GET", r.URL+"/", ""); status != http.StatusTeapot || body != "here true" {
		t.Errorf("local: got %d %q", status, body)
	}
}

func TestRequestsAreHeldWhileNobodyServes(t *testing.T) {
	r, a := newRig(t, nil), newNode(t, "a")
	time.AfterFunc(300*time.Millisecond, func() { r.target.Store(&front.Target{Addr: a.addr()}) })
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if status, body := ask(t, "POST", r.URL+"/", "x"); status != 200 || !strings.HasPrefix(body, "a POST") {
				t.Errorf("got %d %q", status, body)
			}
		})
	}
	wg.Wait()
	if a.seen.Load() != 20 {
		t.Errorf("%d requests arrived; want 20", a.seen.Load())
	}
}

func TestWhatIsHeldIsBoundedInTimeAndNumber(t *testing.T) {
	r := newRig(t, func(c *front.Config) { c.Hold, c.Requests = time.Second, 2 })
	var early, late atomic.Int32
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			began := time.Now()
			status, body := ask(t, "GET", r.URL+"/", "")
			if status != 503 || !strings.Contains(body, "One moment") {
				t.Errorf("got %d %q", status, body)
			}
			if time.Since(began) < 700*time.Millisecond {
				early.Add(1)
			} else {
				late.Add(1)
			}
		})
	}
	wg.Wait()
	if early.Load() != 4 || late.Load() != 2 {
		t.Errorf("%d turned away, %d held; want 4 and 2", early.Load(), late.Load())
	}
}

// breakOff ends the connection without an answer, as a node that dies does.
func breakOff(w http.ResponseWriter, _ *http.Request) {
	c, _, err := w.(http.Hijacker).Hijack()
	if err == nil {
		_ = c.Close()
	}
}

func halfAnswer(w http.ResponseWriter, _ *http.Request) {
	c, buf, err := w.(http.Hijacker).Hijack()
	if err == nil {
		_, _ = buf.WriteString("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf")
		_ = buf.Flush()
		_ = c.Close()
	}
}

func answer503(retry string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Beffroi-Retry", retry)
		w.WriteHeader(503)
	}
}

func TestWhatIsSentAgainAndWhatIsNot(t *testing.T) {
	for _, tc := range []struct {
		name   string
		method string
		path   string
		first  http.HandlerFunc
		again  bool
	}{
		{"a page, no answer", "GET", "/", breakOff, true},
		{"a page, half an answer", "GET", "/", halfAnswer, true},
		{"a form with a token, no answer", "POST", "/" + token, breakOff, true},
		{"a form with a token, half an answer", "POST", "/" + token, halfAnswer, true},
		{"a form with a token, outcome unknown", "POST", "/" + token, answer503("unknown"), true},
		{"a form without token, no answer", "POST", "/", breakOff, false},
		{"a form with a bad token, no answer", "POST", "/?jeton=A", breakOff, false},
		{"a form without token, outcome unknown", "POST", "/", answer503("unknown"), false},
		{"a form without token, refused", "POST", "/", answer503("refused"), true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r, a, b := newRig(t, nil), newNode(t, "a"), newNode(t, "b")
			do := http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
				r.target.Store(&front.Target{Addr: b.addr()})
				tc.first(w, q)
			})
			a.do.Store(&do)
			r.target.Store(&front.Target{Addr: a.addr()})
			status, body := ask(t, tc.method, r.URL+tc.path, "the body")
			if again := status == 200 && strings.HasPrefix(body, "b ") && strings.HasSuffix(body, "the body"); again != tc.again || !tc.again && (status != 503 || b.seen.Load() != 0) {
				t.Errorf("got %d %q, b saw %d; want sent again %v", status, body, b.seen.Load(), tc.again)
			}
		})
	}
}

func TestAnUnsentFormGoesToWhoeverServesNext(t *testing.T) {
	r, b := newRig(t, nil), newNode(t, "b")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead := l.Addr().String()
	_ = l.Close() // refuses connections
	r.target.Store(&front.Target{Addr: dead})
	time.AfterFunc(200*time.Millisecond, func() { r.target.Store(&front.Target{Addr: b.addr()}) })
	if status, body := ask(t, "POST", r.URL+"/", "x"); status != 200 || !strings.HasPrefix(body, "b POST") {
		t.Errorf("got %d %q", status, body)
	}
}

func TestAFrozenNodeIsLeftWhenAnotherServes(t *testing.T) {
	r, a, b := newRig(t, nil), newNode(t, "a"), newNode(t, "b")
	thaw := make(chan struct{})
	freeze := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		r.target.Store(&front.Target{Addr: b.addr()})
		<-thaw
	})
	a.do.Store(&freeze)
	defer close(thaw)
	r.target.Store(&front.Target{Addr: a.addr()})
	if status, body := ask(t, "POST", r.URL+"/"+token, "x"); status != 200 || !strings.HasPrefix(body, "b POST") {
		t.Errorf("got %d %q", status, body) // the hold of 3 s is shorter than the 20 s of one attempt
	}
}

func TestALargeUploadPassesButOnlyOnce(t *testing.T) {
	r, a := newRig(t, func(c *front.Config) { c.Body = 1 << 10 }), newNode(t, "a")
	r.target.Store(&front.Target{Addr: a.addr()})
	big := strings.Repeat("x", 5000)
	if status, body := ask(t, "POST", r.URL+"/"+token, big); status != 200 || !strings.HasSuffix(body, big) {
		t.Errorf("got %d, %d bytes", status, len(body))
	}
	cut := http.HandlerFunc(breakOff)
	a.do.Store(&cut)
	if status, _ := ask(t, "POST", r.URL+"/"+token, big); status != 503 || a.seen.Load() != 2 {
		t.Errorf("got %d after %d requests; want 503 after 2", status, a.seen.Load())
	}
}

func TestAFrontChecksItsConfiguration(t *testing.T) {
	if _, err := front.New(context.Background(), front.Config{}, nil, quiet); err == nil || errors.Is(err, context.Canceled) {
		t.Error("an empty configuration was accepted")
	}
}
