// Package towntest is a citizen service as the console of its node sees it: real
// agents on a simulated volume, behind a socket.
package towntest

import (
	"log/slog"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"beffroi.dev/appliance/socket"
	"beffroi.dev/appliance/town"
	"beffroi.dev/pkg/citizen/agent"
	"beffroi.dev/pkg/citizen/store"
	"beffroi.dev/pkg/clock"
	"beffroi.dev/pkg/disk/simdisk"
)

// Issuer is what code applications call the town.
const Issuer = "Valmont"

// Town answers about agents on a socket until its test ends.
type Town struct {
	*agent.Register
	t       *testing.T
	serving atomic.Bool
	ahead   atomic.Int64 // of the wall clock, nanoseconds
}

type hands struct {
	clock.System
	town *Town
}

func (h hands) Wall() time.Time { return h.town.Now() }

// New serves at a socket's path.
func New(t *testing.T, path string) *Town {
	t.Helper()
	w := &Town{t: t}
	w.serving.Store(true)
	quiet := slog.New(slog.DiscardHandler)
	d := simdisk.New(8 << 20)
	if err := store.Format(t.Context(), d, store.Config{}, quiet); err != nil {
		t.Fatal(err)
	}
	st, err := store.Open(t.Context(), d, store.Config{}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	w.Register = agent.Open(st, hands{town: w}, quiet)
	l, err := socket.Bind(path)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: town.Agents(w.open, Issuer, slog.New(slog.NewTextHandler(t.Output(), nil)))}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Close(); <-done })
	return w
}

func (w *Town) open() *agent.Register {
	if !w.serving.Load() {
		return nil
	}
	return w.Register
}

// Serve begins or ends to serve citizens.
func (w *Town) Serve(yes bool) { w.serving.Store(yes) }

// Now is the time by the town's clock.
func (w *Town) Now() time.Time { return time.Now().Add(time.Duration(w.ahead.Load())) }

// Login logs an agent in with the code of this moment, and returns the session. The
// clock goes on before, so that there is a code that was not used, and attempts enough.
func (w *Town) Login(name, password, secret string) (string, error) {
	w.t.Helper()
	w.ahead.Add(int64(5 * time.Minute))
	code, err := totp.GenerateCode(secret, w.Now())
	if err != nil {
		w.t.Fatal(err)
	}
	return w.Register.Login(w.t.Context(), agent.Login{Name: name, Password: password, Code: code, Address: "192.0.2.1"})
}
