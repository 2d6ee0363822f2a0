package transport_test

import (
	"crypto/ed25519"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"beffroi.dev/pkg/clock"
	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/transport"
)

// sink counts what arrives.
type sink struct {
	session atomic.Uint64
	n       atomic.Int64
}

func (s *sink) Control(ident.Node, []byte)                  {}
func (s *sink) SessionUp(_ ident.Node, n uint64, _ string)  { s.session.Store(n) }
func (s *sink) SessionDown(_ ident.Node, _ uint64, _ error) { s.session.Store(0) }
func (s *sink) Data(_ ident.Node, _ uint64, _ []byte)       { s.n.Add(1) }

// direct joins two meshes by one path on loopback, without a proxy.
func direct(b *testing.B, a, z *sink) *transport.Mesh {
	pair, addr := ident.NewUUID(), "127.0.0.1:0"
	var keys [2]ed25519.PrivateKey
	for i := range keys {
		_, keys[i], _ = ed25519.GenerateKey(nil)
	}
	var ends [2]*transport.Mesh
	for i := 1; i >= 0; i-- {
		c := transport.Config{
			Self: ident.Node(1 + i), Pair: pair, Key: keys[i], Data: true, DataPaths: []string{"fibre1"}, Timing: transport.DefaultTiming(),
			Peers: []transport.Peer{{ID: ident.Node(2 - i), PublicKey: keys[1-i].Public().(ed25519.PublicKey), Paths: []transport.Path{{Name: "fibre1", Addr: addr}}}},
		}
		if i == 1 {
			c.Listen = []transport.Path{{Name: "fibre1", Addr: addr}}
		}
		m, err := transport.New(c, clock.System{}, quiet())
		if err != nil {
			b.Fatal(err)
		}
		m.Start(b.Context(), []*sink{a, z}[i])
		if ends[i] = m; i == 1 {
			addr = m.Addr("fibre1").String()
		}
	}
	b.Cleanup(func() { _ = ends[0].Close(); _ = ends[1].Close() })
	for a.session.Load() == 0 || z.session.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	return ends[0]
}

func BenchmarkData(b *testing.B) {
	for _, size := range []int{256, 4 << 10, 64 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("%dB", size), func(b *testing.B) {
			a, z := &sink{}, &sink{}
			end := direct(b, a, z)
			head, msg := make([]byte, 64), make([]byte, size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				for !end.Send(2, a.session.Load(), head, msg) {
					time.Sleep(20 * time.Microsecond)
				}
			}
			for z.n.Load() < int64(b.N) {
				time.Sleep(20 * time.Microsecond)
			}
		})
	}
}
