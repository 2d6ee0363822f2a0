package operator_test

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"beffroi.dev/appliance/operator"
	"beffroi.dev/appliance/pairing"
	"beffroi.dev/pkg/host/netcfg"
)

type desk struct {
	state operator.State
	asked []operator.Ask
	err   error
}

func (d *desk) State() operator.State { return d.state }
func (d *desk) Do(_ context.Context, a operator.Ask) error {
	d.asked = append(d.asked, a)
	return d.err
}

func TestTheConsoleAndInitAgreeOnTheWords(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	lan := &netcfg.Lan{Port: "#0", Mode: netcfg.ModeStatic, Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.2/24")}, Gateway4: netip.MustParseAddr("10.0.0.254")}
	d := &desk{state: operator.State{Lan: lan, Trial: 12, Pairing: &pairing.Status{Code: "ABCD-EFGH", Secrets: &pairing.Secrets{Password: "p"}}}}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- operator.Serve(ctx, socket, d, slog.New(slog.DiscardHandler)) }()
	c := operator.NewClient(socket)
	var got operator.State
	var err error
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if got, err = c.State(t.Context()); err == nil {
			break
		}
	}
	if diff := cmp.Diff(d.state, got, cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{})); err != nil || diff != "" {
		t.Errorf("state: %v\n%s", err, diff)
	}
	if i, err := os.Stat(socket); err != nil || i.Mode().Perm() != 0o600 {
		t.Errorf("socket: %v %v", i.Mode(), err)
	}
	ask := operator.Ask{Do: operator.TryLan, Lan: lan}
	if err := c.Do(t.Context(), ask); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]operator.Ask{ask}, d.asked, cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{})); diff != "" {
		t.Error(diff)
	}
	d.err = &pairing.Fault{Reason: pairing.CodeWrong, Detail: "x"}
	var f *pairing.Fault
	if err := c.Do(t.Context(), operator.Ask{Do: operator.Meet}); !errors.As(err, &f) || *f != (pairing.Fault{Reason: pairing.CodeWrong, Detail: "x"}) {
		t.Errorf("a refusal came as %v", err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
