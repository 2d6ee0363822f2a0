package witness_test

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"beffroi.dev/pkg/clock"
	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/cluster"
	"beffroi.dev/pkg/quorum/lease"
	"beffroi.dev/pkg/quorum/raftnode"
	"beffroi.dev/pkg/quorum/witness"
	"beffroi.dev/pkg/transport"
)

func config(t *testing.T) witness.Config {
	_, key, _ := ed25519.GenerateKey(nil)
	other, _, _ := ed25519.GenerateKey(nil)
	pair := ident.NewUUID()
	folder := t.TempDir()
	return witness.Config{
		Folder: filepath.Join(folder, "state"), Timing: lease.Lab(), Status: "unix:" + filepath.Join(folder, "status"),
		Transport: transport.Config{
			Self: 3, Pair: pair, Key: key, Listen: []transport.Path{{Name: "lan", Addr: "127.0.0.1:0"}}, Timing: transport.DefaultTiming(),
			Peers: []transport.Peer{{ID: 1, PublicKey: other, Paths: []transport.Path{{Name: "lan"}}}},
		},
		Genesis: cluster.New(pair, map[ident.Node]cluster.Node{
			1: {Name: "a", Kind: cluster.KindNode}, 2: {Name: "b", Kind: cluster.KindNode}, 3: {Name: "w", Kind: cluster.KindWitness},
		}),
	}
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func TestTheStatusSaysWhoLeadsAndWhatIsLinked(t *testing.T) {
	cfg := config(t)
	w, err := witness.Start(t.Context(), cfg, clock.System{}, quiet())
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", strings.TrimPrefix(cfg.Status, "unix:"))
	}}}
	resp, err := client.Get("http://witness/status")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var got witness.Status
	if err := json.NewDecoder(resp.Body).Decode(&got); err != nil {
		t.Fatal(err)
	}
	if got.Vote.Self != 3 || got.Vote.Standing.Leader != 0 || len(got.Paths) != 1 || got.Paths[0].Up || got.Paths[0].Reason == "" {
		t.Errorf("status %+v; want voter 3 without a leader, and its path down with a reason", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.Run(ctx); err != nil {
		t.Errorf("Run = %v after its context ended", err)
	}
}

func TestAWitnessStartsAgainAndNeverAfterItsLogIsLost(t *testing.T) {
	cfg := config(t)
	for range 2 {
		w, err := witness.Start(t.Context(), cfg, clock.System{}, quiet())
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove(filepath.Join(cfg.Folder, "votes.db")); err != nil {
		t.Fatal(err)
	}
	if _, err := witness.Start(t.Context(), cfg, clock.System{}, quiet()); !errors.Is(err, raftnode.ErrAmnesia) {
		t.Errorf("Start = %v; want ErrAmnesia", err)
	}
}

func TestAConfigurationTellsAllItsFaults(t *testing.T) {
	cfg := config(t)
	cfg.Folder, cfg.Transport.Data, cfg.Transport.Self, cfg.Timing.Tick = "", true, 1, 0
	err := cfg.Validate()
	for _, want := range []string{"state folder", "no data sessions", "not a witness", "tick"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Validate lacks %q in:\n%v", want, err)
		}
	}
}
