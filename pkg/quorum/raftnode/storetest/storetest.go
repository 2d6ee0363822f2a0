// Package storetest is the conformance suite of raftnode.Store. It owns the
// expectations and nothing else.
package storetest

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/testing/protocmp"

	"beffroi.dev/pkg/quorum/raftnode"
)

func entry(index, term uint64, data string) *raftpb.Entry {
	return &raftpb.Entry{Index: new(index), Term: new(term), Data: []byte(data)}
}

func entries(term uint64, from, to uint64) []*raftpb.Entry {
	var all []*raftpb.Entry
	for i := from; i <= to; i++ {
		all = append(all, entry(i, term, "x"))
	}
	return all
}

func snapshot(index, term uint64) *raftpb.Snapshot {
	return &raftpb.Snapshot{Data: []byte("state"), Metadata: &raftpb.SnapshotMetadata{Index: new(index), Term: new(term), ConfState: &raftpb.ConfState{Voters: []uint64{1, 2, 3}}}}
}

func hard(term, vote, commit uint64) *raftpb.HardState {
	return &raftpb.HardState{Term: new(term), Vote: new(vote), Commit: new(commit)}
}

// Run checks what raftnode promises of a Store. Reopen returns a store over
// what the one before held, closing that one; open returns an empty one.
func Run(t *testing.T, open func(t *testing.T) raftnode.Store, reopen func(t *testing.T, s raftnode.Store) raftnode.Store) {
	genesis := raftnode.Persist{Snapshot: snapshot(1, 1), Reset: true, Hard: hard(1, 0, 1)}
	for _, tc := range []struct {
		name  string
		steps []raftnode.Persist
		want  raftnode.Restored
	}{
		{"an empty store holds nothing", nil, raftnode.Restored{}},
		{"a promise is held before there is a log: a voter joins", []raftnode.Persist{{Hard: hard(3, 1, 0)}}, raftnode.Restored{Hard: hard(3, 1, 0)}},
		{"a genesis is held", []raftnode.Persist{genesis}, raftnode.Restored{Snapshot: snapshot(1, 1), Hard: hard(1, 0, 1)}},
		{"entries follow the genesis", []raftnode.Persist{genesis, {Entries: entries(2, 2, 4), Hard: hard(2, 1, 1)}, {Entries: entries(2, 5, 5)}},
			raftnode.Restored{Snapshot: snapshot(1, 1), Entries: entries(2, 2, 5), Hard: hard(2, 1, 1)}},
		{"a later leader's entries replace the tail", []raftnode.Persist{genesis, {Entries: entries(2, 2, 6)}, {Entries: entries(3, 4, 4), Hard: hard(3, 2, 3)}},
			raftnode.Restored{Snapshot: snapshot(1, 1), Entries: append(entries(2, 2, 3), entry(4, 3, "x")), Hard: hard(3, 2, 3)}},
		{"a snapshot of our own keeps what follows it", []raftnode.Persist{genesis, {Entries: entries(2, 2, 300)}, {Snapshot: snapshot(298, 2), Hard: hard(2, 0, 299)}},
			raftnode.Restored{Snapshot: snapshot(298, 2), Entries: entries(2, 299, 300), Hard: hard(2, 0, 299)}},
		{"a snapshot from the leader forgets all entries", []raftnode.Persist{genesis, {Entries: entries(2, 2, 9)}, {Snapshot: snapshot(5, 3), Reset: true, Entries: entries(3, 6, 6), Hard: hard(3, 0, 5)}},
			raftnode.Restored{Snapshot: snapshot(5, 3), Entries: entries(3, 6, 6), Hard: hard(3, 0, 5)}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := open(t)
			defer func() { _ = s.Close() }()
			for i, p := range tc.steps {
				if err := s.Persist(p); err != nil {
					t.Fatalf("step %d: %v", i, err)
				}
			}
			s = reopen(t, s)
			got, err := s.Restore()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got, protocmp.Transform()); diff != "" {
				t.Errorf("restored (-want +got):\n%s", diff)
			}
		})
	}
	t.Run("a gap is refused and the store is failed from then on", func(t *testing.T) {
		s := open(t)
		defer func() { _ = s.Close() }()
		if err := s.Persist(genesis); err != nil {
			t.Fatal(err)
		}
		if err := s.Persist(raftnode.Persist{Entries: entries(2, 4, 4)}); err == nil {
			t.Error("a gap was accepted")
		}
		if err := s.Persist(raftnode.Persist{Entries: entries(2, 2, 2)}); err == nil {
			t.Error("the failed store went on")
		}
	})
}
