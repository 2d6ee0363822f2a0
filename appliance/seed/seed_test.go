package seed_test

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"beffroi.dev/appliance/config"
	"beffroi.dev/appliance/seed"
	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/cluster"
	"beffroi.dev/pkg/transport"

	"github.com/google/go-cmp/cmp"
)

func example(t testing.TB) *seed.Seed {
	t.Helper()
	s := &seed.Seed{Network: []byte(`{"lan":{}}`), Token: "secret", Password: "first"}
	n := &config.Node{Version: config.Version, Pair: ident.NewUUID(), Self: 1, Profile: "emulated", VoteListen: []transport.Path{{Name: "lan", Addr: "10.0.0.1:7103"}}}
	for i, name := range []string{"a", "b", "witness"} {
		public, key, err := ed25519.GenerateKey(nil)
		if err != nil {
			t.Fatal(err)
		}
		m := config.Member{ID: ident.Node(i + 1), Name: name, Kind: cluster.KindNode, PublicKey: public}
		if name == "witness" {
			m.Kind = cluster.KindWitness
		}
		if i == 0 {
			s.Key = key.Seed()
		}
		n.Members = append(n.Members, m)
	}
	s.Node = n
	return s
}

func encode(t testing.TB, s *seed.Seed) []byte {
	t.Helper()
	b, err := seed.Encode(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestASeedComesBackWholeFromAPartition(t *testing.T) {
	want := example(t)
	partition := append(encode(t, want), make([]byte, 4096)...)
	got, err := seed.Read(bytes.NewReader(partition))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestWhatIsNoSeedIsRefusedWithItsReason(t *testing.T) {
	good := encode(t, example(t))
	foreign := example(t)
	foreign.Key[0]++
	change := func(at int, to byte) []byte { b := bytes.Clone(good); b[at] = to; return b }
	tests := []struct {
		name  string
		bytes []byte
		want  error
	}{
		{"zeros", make([]byte, 8192), seed.ErrNone},
		{"another thing", bytes.Repeat([]byte("BOOT"), 2000), seed.ErrDamaged},
		{"a newer version", change(8, 2), seed.ErrNewer},
		{"a length beyond the bound", change(15, 0x7f), seed.ErrDamaged},
		{"a flipped byte", change(100, good[100]^1), seed.ErrDamaged},
		{"a torn one", good[:len(good)/2], seed.ErrDamaged},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := seed.Read(bytes.NewReader(tt.bytes)); !errors.Is(err, tt.want) {
				t.Errorf("Read = %v; want %v", err, tt.want)
			}
		})
	}
	if _, err := seed.Encode(foreign); !errors.Is(err, seed.ErrKey) {
		t.Errorf("Encode = %v; want ErrKey", err)
	}
}

func TestAnAdoptedSeedIsTheConfigurationAndLeavesNothingInThePartition(t *testing.T) {
	s, d := example(t), config.Dir(filepath.Join(t.TempDir(), "node"))
	if err := s.Adopt(d); err != nil {
		t.Fatal(err)
	}
	n, err := config.Load(d)
	if err != nil || n.Pair != s.Node.Pair {
		t.Errorf("configuration: %v, %v", n, err)
	}
	if key, err := config.LoadKey(d); err != nil || !bytes.Equal(key.Seed(), s.Key) {
		t.Errorf("key: %v", err)
	}
	for _, f := range []string{d.Key(), d.Token(), seed.Network(d)} {
		if i, err := os.Stat(f); err != nil || i.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v; want mode 0600", filepath.Base(f), i, err)
		}
	}
	partition, err := os.CreateTemp(t.TempDir(), "seed")
	if err != nil {
		t.Fatal(err)
	}
	defer partition.Close()
	if _, err := partition.Write(encode(t, s)); err != nil {
		t.Fatal(err)
	}
	if err := seed.Erase(partition); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(partition.Name())
	if err != nil || len(bytes.Trim(b, "\x00")) != 0 {
		t.Errorf("something is left: %v", err)
	}
}

func FuzzRead(f *testing.F) {
	f.Add(encode(f, example(f)))
	f.Add(make([]byte, 64))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := seed.Read(bytes.NewReader(b)); err == nil {
			if err := s.Validate(); err != nil {
				t.Fatalf("Read took a seed that is not valid: %v", err)
			}
		}
	})
}
