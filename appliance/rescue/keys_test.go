package rescue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"beffroi.dev/appliance/operator"
	"beffroi.dev/appliance/rescue/screen"
)

// recorder writes down what it was asked to do.
type recorder struct {
	mu   sync.Mutex
	done []string
	err  error
	hang bool
}

func (r *recorder) note(ctx context.Context, what string) error {
	r.mu.Lock()
	r.done = append(r.done, what)
	hang, err := r.hang, r.err
	r.mu.Unlock()
	if hang {
		<-ctx.Done()
		return ctx.Err()
	}
	return err
}

func (r *recorder) list() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.done)
}

func (r *recorder) Reboot(ctx context.Context) error   { return r.note(ctx, "reboot") }
func (r *recorder) PowerOff(ctx context.Context) error { return r.note(ctx, "poweroff") }
func (r *recorder) RestartService(ctx context.Context, name string) error {
	return r.note(ctx, "restart "+name)
}
func (r *recorder) CheckPassword(ctx context.Context, password string) (bool, error) {
	return password == "beffroi", r.note(ctx, "password "+password)
}
func (r *recorder) OpenShell(ctx context.Context, tty io.ReadWriter) error {
	return r.note(ctx, "shell")
}
func (r *recorder) Ask(ctx context.Context, a operator.Ask) error {
	return r.note(ctx, "ask "+string(a.Do))
}
func (r *recorder) TailLog(ctx context.Context, service string, n int) ([]string, error) {
	return []string{"line of " + service}, r.note(ctx, "log "+service)
}

type fixed struct {
	snapshot Snapshot
	hang     bool
}

func (f fixed) Snapshot(context.Context) Snapshot {
	if f.hang {
		select {} // whatever the context says
	}
	f.snapshot.At = time.Now()
	return f.snapshot
}

// line is a terminal made of a channel and a recording.
type wire struct {
	keys chan string
	mu   sync.Mutex
	out  strings.Builder
	fail bool
}

func (w *wire) Read(b []byte) (int, error) {
	select {
	case k := <-w.keys:
		return copy(b, k), nil
	case <-time.After(10 * time.Millisecond):
		return 0, nil
	}
}

func (w *wire) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fail {
		w.fail = false
		return 0, errors.New("hang-up")
	}
	return w.out.Write(b)
}

func (w *wire) text() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.out.String()
}

// running starts the engine.
func engineOn(t *testing.T, s Source, a Actions) *wire {
	w := &wire{keys: make(chan string)}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- Run(ctx, w, s, a, Options{Zone: time.UTC, Can: Can{Power: true, Shell: true}})
	}()
	t.Cleanup(func() {
		stop()
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			t.Error("the engine does not stop")
		}
	})
	return w
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for until := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("%s: not within 10 s", what)
		}
	}
}

// Every entry of the menu, by its keys, has its effect, and nothing else has.
func TestKeysOperateEveryAction(t *testing.T) {
	for name, tc := range map[string]struct {
		keys []string
		want []string
	}{
		"reboot":          {[]string{"m4\r", "2\r"}, []string{"reboot"}},
		"reboot refused":  {[]string{"m4\r", "\r"}, nil},
		"reboot left":     {[]string{"m4\r", "\x1b[B", "\x1b[11~"}, nil},
		"power off":       {[]string{"\x1bOPx5\r", "\x1b[B\r"}, []string{"poweroff"}},
		"restart a vm":    {[]string{"m3\r", "3\r", "2\r"}, []string{"restart vm"}},
		"log":             {[]string{"m2\r", "3\r"}, []string{"log block"}},
		"shell":           {[]string{"m6\r", "beffroi\r"}, []string{"password beffroi", "shell"}},
		"shell, mistyped": {[]string{"m6\r", "beffrou\x7fi\r"}, []string{"password beffroi", "shell"}},
		"wrong password":  {[]string{"m6\r", "guess\r"}, []string{"password guess"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := &recorder{}
			w := engineOn(t, fixed{snapshot: healthy()}, r)
			eventually(t, "status", func() bool { return strings.Contains(w.text(), "TOUT VA BIEN") })
			for _, k := range tc.keys {
				w.keys <- k
			}
			eventually(t, "effect", func() bool { return len(r.list()) >= len(tc.want) })
			time.Sleep(50 * time.Millisecond) // for what should not come
			if d := cmp.Diff(tc.want, r.list()); d != "" {
				t.Error(d)
			}
		})
	}
}

// Keys are answered although the source and the actions hang, and the age is shown.
func TestNothingThatHangsFreezesTheKeys(t *testing.T) {
	r := &recorder{hang: true}
	w := engineOn(t, fixed{hang: true}, r)
	w.keys <- "m"
	eventually(t, "menu", func() bool { return strings.Contains(w.text(), "Journaux") })
	w.keys <- "4\r"
	w.keys <- "2\r"
	eventually(t, "reboot", func() bool { return len(r.list()) == 1 })
	w.keys <- "l"
	eventually(t, "English", func() bool { return strings.Contains(w.text(), "Running") })
}

// A terminal that failed is painted anew.
func TestAHangUpIsSurvived(t *testing.T) {
	w := engineOn(t, fixed{snapshot: healthy()}, &recorder{})
	eventually(t, "status", func() bool { return strings.Contains(w.text(), "TOUT VA BIEN") })
	w.mu.Lock()
	w.fail = true
	w.out.Reset()
	w.mu.Unlock()
	eventually(t, "status again", func() bool { return strings.Contains(w.text(), "TOUT VA BIEN") })
}

func TestWrongPasswordsMustWait(t *testing.T) {
	m := model(French, healthy())
	press(m, "m6\r")
	last := time.Duration(0)
	for i := range 8 {
		press(m, "x") // the first key after a pause also repaints
		e := press(m, "\r")
		if len(e) != 1 || e[0].Do != CheckPassword {
			t.Fatalf("attempt %d: effects %v", i, e)
		}
		m.Done(Result{Effect: e[0]})
		press(m, "\x1b")
		press(m, "m6\r") // leaving does not help
		if e := press(m, "x\r"); e != nil {
			t.Errorf("attempt %d: no pause: %v", i, e)
		}
		wait := m.secrets.until.Sub(m.now)
		if wait < last || wait > maxPause {
			t.Errorf("attempt %d: pause %v after %v", i, wait, last)
		}
		last = wait
		m.Tick(m.secrets.until)
		s := healthy()
		s.At = m.now
		m.Snapshot(s)
	}
	if m.secrets.wrong != 8 {
		t.Errorf("%d counted", m.secrets.wrong)
	}
}

// Without a hash there is no shell, and the console says why there is none.
func TestWithoutAHashThereIsNoShell(t *testing.T) {
	for want, change := range map[string]func(*Snapshot){
		"rescue-password":       func(*Snapshot) {},
		"n'est pas montée":      states["boot-failed"],
		"encore à aucune paire": func(s *Snapshot) { s.Pairing = Pairing{Known: true} },
	} {
		s := healthy()
		change(&s)
		s.NoShell = ErrNoPassword
		m := model(French, s)
		entry := slices.IndexFunc(newMenu().(*listView).entries(m), func(e entry) bool { return strings.Contains(e.label, "Interpréteur") })
		if e := press(m, fmt.Sprintf("m%d\rbeffroi\r", entry+1)); e != nil {
			t.Errorf("effects %v", e)
		}
		if text := strings.Join(strings.Fields(m.View().Text()), " "); !strings.Contains(text, "refusé") || !strings.Contains(text, want) {
			t.Errorf("want %q:\n%s", want, text)
		}
	}
}

// What cannot be done here is not offered.
func TestNoDeadEntries(t *testing.T) {
	m := NewModel(English, time.UTC, night, Can{})
	m.Snapshot(healthy())
	press(m, "m")
	text := m.View().Text()
	for _, no := range []string{"Reboot", "Power", "shell"} {
		if strings.Contains(text, no) {
			t.Errorf("%s is offered", no)
		}
	}
}

func TestOldNewsSaysSo(t *testing.T) {
	m := model(French, healthy())
	m.Tick(night.Add(30 * time.Second))
	if text := m.View().Line(newsRow); !strings.Contains(text, "30\u00a0s") {
		t.Errorf("%q", text)
	}
}

// Any keys leave a screen that can be drawn, and the way to the menu in sight.
func FuzzKeys(f *testing.F) {
	f.Add([]byte("m3\r2\r2\r\x1b\x1bl m6\rx\r"))
	f.Fuzz(func(t *testing.T, keys []byte) {
		m := model(French, healthy())
		var d screen.Decoder
		for i, k := range d.Feed(keys) {
			for _, e := range m.Key(k) {
				m.Done(Result{Effect: e})
			}
			m.Tick(night.Add(time.Duration(i) * time.Second))
			if b := m.View().Line(bottomRow); !strings.Contains(b, "F1") {
				t.Fatalf("bottom line %q", b)
			}
		}
	})
}
