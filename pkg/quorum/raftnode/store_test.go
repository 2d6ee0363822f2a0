package raftnode_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.etcd.io/bbolt"
	"go.etcd.io/raft/v3/raftpb"

	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/raftnode"
	"beffroi.dev/pkg/quorum/raftnode/storetest"
)

var pairID = ident.UUID{0: 0xaa}

func TestTheLogKeepsWhatWasPersisted(t *testing.T) {
	folders := map[raftnode.Store]string{}
	open := func(t *testing.T, folder string) raftnode.Store {
		l, err := raftnode.OpenLog(folder, 1, pairID)
		if err != nil {
			t.Fatal(err)
		}
		folders[l] = folder
		return l
	}
	storetest.Run(t,
		func(t *testing.T) raftnode.Store { return open(t, t.TempDir()) },
		func(t *testing.T, s raftnode.Store) raftnode.Store {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			return open(t, folders[s])
		})
}

func TestTheMemoryKeepsWhatWasPersisted(t *testing.T) {
	storetest.Run(t,
		func(*testing.T) raftnode.Store { return &raftnode.Memory{} },
		func(_ *testing.T, s raftnode.Store) raftnode.Store { return s })
}

func started(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	l, err := raftnode.OpenLog(folder, 1, pairID)
	if err != nil {
		t.Fatal(err)
	}
	p, err := raftnode.Genesis(genesis())
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(l.Persist(p), l.Close()); err != nil {
		t.Fatal(err)
	}
	return folder
}

func TestAForeignLogIsRefusedAndLeftUntouched(t *testing.T) {
	for _, tc := range []struct {
		name  string
		spoil func(t *testing.T, folder string)
		self  ident.Node
		pair  ident.UUID
		want  error
	}{
		{"another voter's", func(*testing.T, string) {}, 2, pairID, raftnode.ErrLogOwner},
		{"another pair's", func(*testing.T, string) {}, 1, ident.UUID{1}, raftnode.ErrLogOwner},
		{"a newer version's", func(t *testing.T, folder string) {
			db, err := bbolt.Open(filepath.Join(folder, "votes.db"), 0o600, nil)
			if err != nil {
				t.Fatal(err)
			}
			err = db.Update(func(tx *bbolt.Tx) error { return tx.Bucket([]byte("meta")).Put([]byte("version"), []byte{9}) })
			if err := errors.Join(err, db.Close()); err != nil {
				t.Fatal(err)
			}
		}, 1, pairID, raftnode.ErrLogVersion},
		{"a lost one", func(t *testing.T, folder string) {
			if err := os.Remove(filepath.Join(folder, "votes.db")); err != nil {
				t.Fatal(err)
			}
		}, 1, pairID, raftnode.ErrAmnesia},
	} {
		t.Run(tc.name, func(t *testing.T) {
			folder := started(t)
			tc.spoil(t, folder)
			before, _ := os.ReadFile(filepath.Join(folder, "votes.db"))
			l, err := raftnode.OpenLog(folder, tc.self, tc.pair)
			if !errors.Is(err, tc.want) {
				t.Fatalf("OpenLog = %v, %v; want %v", l, err, tc.want)
			}
			if after, _ := os.ReadFile(filepath.Join(folder, "votes.db")); string(after) != string(before) {
				t.Error("the refused file was changed")
			}
		})
	}
}

func TestALogThatIsBlankAgainIsRefused(t *testing.T) {
	folder := started(t)
	if err := os.Remove(filepath.Join(folder, "votes.db")); err != nil {
		t.Fatal(err)
	}
	blank := t.TempDir()
	l, err := raftnode.OpenLog(blank, 1, pairID)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(blank, "votes.db"), filepath.Join(folder, "votes.db")); err != nil {
		t.Fatal(err)
	}
	l, err = raftnode.OpenLog(folder, 1, pairID)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := l.Restore(); !errors.Is(err, raftnode.ErrAmnesia) {
		t.Errorf("Restore = %v; want ErrAmnesia", err)
	}
}

func TestAVoterThatJoinsAndLosesItsFirstPromiseIsRefused(t *testing.T) {
	folder := t.TempDir()
	l, err := raftnode.OpenLog(folder, 1, pairID)
	if err != nil {
		t.Fatal(err)
	}
	term := uint64(3)
	if err := errors.Join(l.Persist(raftnode.Persist{Hard: &raftpb.HardState{Term: &term}}), l.Close()); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(folder, "votes.db")); err != nil {
		t.Fatal(err)
	}
	if l, err := raftnode.OpenLog(folder, 1, pairID); !errors.Is(err, raftnode.ErrAmnesia) {
		t.Errorf("OpenLog = %v, %v; want ErrAmnesia", l, err)
	}
}

func TestASecondProcessIsToldThatTheLogIsInUse(t *testing.T) {
	folder := started(t)
	l, err := raftnode.OpenLog(folder, 1, pairID)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := raftnode.OpenLog(folder, 1, pairID); !errors.Is(err, raftnode.ErrLogBusy) {
		t.Errorf("second OpenLog = %v; want ErrLogBusy", err)
	}
}

func TestAFileThatIsNoLogIsRefused(t *testing.T) {
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "votes.db"), []byte(strings.Repeat("garbage ", 4096)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := raftnode.OpenLog(folder, 1, pairID); err == nil {
		t.Error("garbage was opened as a log")
	}
}
