package transport_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"net"
	"strings"
	"testing"
	"time"

	"beffroi.dev/pkg/clock"
	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/transport"
	"beffroi.dev/pkg/transport/transporttest"
)

func TestABadPeerIsRefusedForItsReason(t *testing.T) {
	t.Parallel()
	_, stranger, _ := ed25519.GenerateKey(nil)
	for _, tc := range []struct {
		name  string
		spoil func(*transport.Config)
		want  transport.Refusal
	}{
		{"another pair", func(c *transport.Config) { c.Pair = ident.NewUUID() }, transport.RefusedPair},
		{"a key that is not pinned", func(c *transport.Config) { c.Key = stranger }, transport.RefusedKey},
		{"a node that is not who it says", func(c *transport.Config) { c.Self = 3 }, transport.RefusedNode},
		{"crossed cables", func(c *transport.Config) {
			p := c.Peers[0].Paths
			p[0].Addr, p[1].Addr = p[1].Addr, p[0].Addr
		}, transport.RefusedPath},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t)
			server := w.Start(1, transporttest.NewLog(t, "server")).(*transport.Mesh)
			c := w.config(0)
			tc.spoil(&c)
			log := transporttest.NewLog(t, "client")
			client, err := transport.New(c, clock.System{}, quiet())
			if err != nil {
				t.Fatal(err)
			}
			client.Start(t.Context(), log)
			w.ends[0] = client
			await(t, "the refusal", func() bool { return server.Refused()[tc.want] > 1 })
			for _, st := range client.Paths() {
				if st.Up || log.Session(w.ID(1)) != 0 {
					t.Errorf("path %s is up at the refused end", st.Path)
				}
			}
			await(t, "a reason at the refused end", func() bool { return client.Paths()[0].Reason != "not linked yet" })
		})
	}
}

func TestGarbageOnTheSocketIsCountedAndHarmsNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	logs := [2]*transporttest.Log{transporttest.NewLog(t, "a"), transporttest.NewLog(t, "b")}
	w.Start(0, logs[0])
	server := w.Start(1, logs[1]).(*transport.Mesh)
	await(t, "a session", func() bool { return logs[0].Session(w.ID(1)) != 0 })
	before := logs[0].Session(w.ID(1))
	for range 3 {
		c, err := net.Dial("tcp", server.Addr(transporttest.Path1).String())
		if err != nil {
			t.Fatal(err)
		}
		junk := make([]byte, 4096)
		_, _ = rand.Read(junk)
		_, _ = c.Write(junk)
		defer c.Close()
	}
	silent, err := net.Dial("tcp", server.Addr(transporttest.Path1).String())
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	await(t, "the garbage to be counted", func() bool { return server.Refused()[transport.RefusedKey] >= 3 })
	await(t, "the silent one to be closed", func() bool { return server.Refused()[transport.RefusedHandshake] >= 1 })
	if got := logs[0].Session(w.ID(1)); got != before {
		t.Errorf("session %d after the garbage; want %d still", got, before)
	}
}

func TestAFloodOfConnectionsIsBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	server := w.Start(1, transporttest.NewLog(t, "b")).(*transport.Mesh)
	for range 80 {
		c, err := net.DialTimeout("tcp", server.Addr(transporttest.Path1).String(), time.Second)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	await(t, "the excess to be closed", func() bool { return server.Refused()[transport.RefusedBusy] >= 10 })
}

func TestAConfigurationTellsAllItsFaultsAtOnce(t *testing.T) {
	err := (&transport.Config{Listen: []transport.Path{{Name: "LAN"}}, Data: true, Peers: []transport.Peer{{}}}).Validate()
	for _, want := range []string{"self:", "pair:", "key:", "listen:", "no address", "peer", "data:", "timing:"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Validate lacks %q in:\n%v", want, err)
		}
	}
}

func TestAFullQueueRefusesAndTheSessionGoesOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	logs := [2]*transporttest.Log{transporttest.NewLog(t, "a"), transporttest.NewLog(t, "b")}
	a := w.Start(0, logs[0])
	w.Start(1, logs[1])
	await(t, "a session", func() bool { return logs[0].Session(w.ID(1)) != 0 && logs[1].Session(w.ID(0)) != 0 })
	s := logs[0].Session(w.ID(1))
	big := make([]byte, 4<<20)
	sent := 0
	for a.Send(w.ID(1), s, big) {
		if sent++; sent > 10_000 {
			t.Fatal("the queue has no bound")
		}
	}
	await(t, "what was taken to arrive", func() bool { return logs[1].Received() >= sent || logs[0].Downs() > 0 })
	if logs[0].Downs() == 0 && !a.Send(w.ID(1), s, big) {
		t.Error("the drained queue still refuses")
	}
}
