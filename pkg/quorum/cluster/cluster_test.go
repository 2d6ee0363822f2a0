package cluster_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/cluster"
)

var rewrite = flag.Bool("rewrite-golden", false, "write the golden files anew")

const (
	nodeA   = ident.Node(1)
	nodeB   = ident.Node(2)
	nodeC   = ident.Node(3) // a third data node, for what two cannot show
	witness = ident.Node(9)
)

func replica(n ident.Node) ident.UUID { return ident.UUID{0: byte(n), 15: 0xee} }

func genesis() *cluster.State {
	nodes := map[ident.Node]cluster.Node{witness: {Name: "w", Kind: cluster.KindWitness, Site: "school", PublicKey: []byte{9}}}
	for n, name := range map[ident.Node]string{nodeA: "a", nodeB: "b", nodeC: "c"} {
		nodes[n] = cluster.Node{Name: name, Kind: cluster.KindNode, Site: "site-" + name, PublicKey: []byte{byte(n)}, Replica: replica(n)}
	}
	return cluster.New(ident.UUID{0: 0xaa}, nodes)
}

func mustApply(t *testing.T, s *cluster.State, do cluster.Action) cluster.Result {
	t.Helper()
	r, err := cluster.Apply(s, cluster.Command{Do: do})
	if err != nil {
		t.Fatalf("%T: %v", do, err)
	}
	return r
}

// town is a state with a bit of everything.
func town(t *testing.T) *cluster.State {
	s := genesis()
	g := mustApply(t, s, &cluster.CreateGroup{Name: "etat-civil", Preferred: nodeA, Durability: cluster.Strict,
		Volumes: []cluster.NewVolume{{Name: "system", SizeBytes: 1 << 30}, {Name: "data", SizeBytes: 1 << 20}}, InSync: []ident.Node{nodeB, nodeA}})
	mustApply(t, s, &cluster.CreateGroup{Name: "citizen", Preferred: nodeB, Durability: cluster.Strict,
		Volumes: []cluster.NewVolume{{Name: "data", SizeBytes: 1 << 30}}})
	mustApply(t, s, &cluster.SetService{Group: 2})
	mustApply(t, s, &cluster.CreateVM{Name: "etat-civil", Group: g.Group, CPUs: 2, MemoryMB: 2048, Firmware: "uefi", Run: true})
	mustApply(t, s, &cluster.PlaceVM{VM: 1, Node: nodeA, Cause: "first start"})
	mustApply(t, s, &cluster.SetUser{Name: "admin", User: cluster.User{Role: cluster.RoleAdmin, Hash: "$argon2id$v=19$x", TOTP: "sealed"}})
	if _, err := cluster.Apply(s, cluster.Command{ID: cluster.ProposalID{Node: nodeA, Random: 7}, WallMS: 1000,
		Do: &cluster.Reconfigure{Group: 1, Base: 1, Kind: cluster.Shrink, By: nodeA, New: cluster.Config{Primary: nodeA, InSync: []ident.Node{nodeA}, Cut: cluster.Cut{Epoch: 1, Seq: 42}}, Cause: "twin silent"}}); err != nil {
		t.Fatal(err)
	}
	s.Index = 12
	return s
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *rewrite {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s:\n got %s\nwant %s", name, got, want)
	}
}

func indent(t *testing.T, b []byte) []byte {
	var buf bytes.Buffer
	if err := json.Indent(&buf, b, "", "  "); err != nil {
		t.Fatal(err)
	}
	return append(buf.Bytes(), '\n')
}

func TestAStateKeepsItsFormatAndSurvivesItsSnapshot(t *testing.T) {
	s := town(t)
	b, err := s.Encode()
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "state-v2.json", indent(t, b))
	for _, version := range []string{"state-v2.json", "state-v1.json"} { // the older one has no cards
		file, err := os.ReadFile(filepath.Join("testdata", version))
		if err != nil {
			t.Fatal(err)
		}
		back, err := cluster.Decode(file)
		if err != nil {
			t.Fatal(err)
		}
		if again, _ := back.Encode(); !bytes.Equal(again, b) {
			t.Errorf("%s decoded and encoded again:\n got %s\nwant %s", version, again, b)
		}
	}
}

func TestAStateOfANewerVersionIsRefused(t *testing.T) {
	if _, err := cluster.Decode([]byte(`{"version":3}`)); !errors.Is(err, cluster.ErrVersion) {
		t.Errorf("Decode = %v; want ErrVersion", err)
	}
	for _, bad := range []string{``, `{}`, `[]`, `{"version":1,"groups":{"1":{"id":1}}}`, `{"version":1,"nodes":{"zz":{}}}`, `{"version":2}`} {
		if _, err := cluster.Decode([]byte(bad)); err == nil {
			t.Errorf("Decode(%s) succeeded", bad)
		}
	}
}

func TestAClonedStateIsNotTouchedByLaterCommands(t *testing.T) {
	s := town(t)
	c := s.Clone()
	before, _ := c.Encode()
	mustApply(t, s, &cluster.Reconfigure{Group: 1, Base: 2, Kind: cluster.Grow, By: nodeA, Replica: replica(nodeB), New: cluster.Config{Primary: nodeA, InSync: []ident.Node{nodeA, nodeB}}})
	mustApply(t, s, &cluster.SetPreferred{Group: 2, Node: nodeA})
	mustApply(t, s, &cluster.SetReplica{Node: nodeA, Replica: replica(nodeA)})
	for range 600 {
		mustApply(t, s, &cluster.Record{Event: cluster.Event{Kind: "test"}})
	}
	if after, _ := c.Encode(); !bytes.Equal(before, after) {
		t.Errorf("the clone changed:\n got %s\nwant %s", after, before)
	}
}

func commands() []cluster.Action {
	n, none := 4, 0
	return []cluster.Action{
		&cluster.CreateGroup{Name: "g", Preferred: nodeA, Durability: cluster.Strict, Volumes: []cluster.NewVolume{{Name: "v", SizeBytes: 1 << 20}}},
		&cluster.DeleteGroup{Group: 3}, &cluster.SetPreferred{Group: 1, Node: nodeB}, &cluster.SetService{Group: 2},
		&cluster.Reconfigure{Group: 1, Base: 2, Kind: cluster.Grow, By: nodeA, Replica: replica(nodeB), New: cluster.Config{Primary: nodeA, InSync: []ident.Node{nodeA, nodeB}}},
		&cluster.Batch{Changes: []cluster.Reconfigure{{Group: 1}, {Group: 2, Kind: cluster.Restart, Base: 1, By: nodeB, New: cluster.Config{Primary: nodeB, InSync: []ident.Node{nodeA, nodeB, nodeC}}}}},
		&cluster.CreateVM{Name: "vm", Group: 1, CPUs: 1, MemoryMB: 64, Firmware: "bios"}, &cluster.UpdateVM{VM: 1, CPUs: &n},
		&cluster.DeleteVM{VM: 1}, &cluster.PlaceVM{VM: 1, Base: 1, Node: nodeB},
		&cluster.SetUser{Name: "u", User: cluster.User{Role: cluster.RoleViewer, Hash: "$argon2id$"}}, &cluster.DeleteUser{Name: "u"},
		&cluster.SetReplica{Node: nodeC, Replica: ident.UUID{1}}, &cluster.Record{Event: cluster.Event{Kind: "disk-failed", Node: nodeA}},
		&cluster.CreateVM{Name: "vm", Group: 1, CPUs: 1, MemoryMB: 64, Firmware: "bios", Cards: &none}, &cluster.UpdateVM{VM: 1, Cards: &n},
		&cluster.ReplaceNode{Old: nodeB, Node: 4, PublicKey: bytes.Repeat([]byte{4}, 32), Replica: ident.UUID{4}},
	}
}

func TestCommandsKeepTheirFormat(t *testing.T) {
	var all bytes.Buffer
	for i, do := range commands() {
		c := cluster.Command{ID: cluster.ProposalID{Node: nodeA, Random: uint64(i)}, WallMS: 5, Do: do}
		b, err := c.Encode()
		if err != nil {
			t.Fatal(err)
		}
		back, err := cluster.DecodeCommand(b)
		if err != nil {
			t.Fatal(err)
		}
		if again, _ := back.Encode(); !bytes.Equal(again, b) {
			t.Errorf("%T became %s; want %s", do, again, b)
		}
		all.Write(append(b, '\n'))
	}
	golden(t, "commands-v1.jsonl", all.Bytes())
}

func TestACommandFromTheFutureIsRefusedAndChangesNothing(t *testing.T) {
	for _, tc := range []struct{ entry, want string }{
		{`{"v":1,"id":{"node":"0000000000000001","random":3},"kind":"teleport","do":{}}`, "not known"},
		{`{"v":2,"id":{"node":"0000000000000001","random":3},"kind":"record","do":{}}`, "version 2"},
		{`{"v":1,"kind":"record","do":7}`, "decode record"},
		{`{`, "decode command"},
	} {
		s := town(t)
		before, _ := s.Encode()
		id, r := cluster.ApplyEntry(s, s.Index, []byte(tc.entry))
		if !strings.Contains(r.Refused, tc.want) {
			t.Errorf("%s: refused %q; want %q", tc.entry, r.Refused, tc.want)
		}
		if strings.Contains(tc.entry, "random") && id.Random != 3 {
			t.Errorf("%s: identity %v; want it read", tc.entry, id)
		}
		if after, _ := s.Encode(); !bytes.Equal(before, after) {
			t.Errorf("%s changed the state", tc.entry)
		}
	}
}

func TestAProposalThatArrivesTwiceIsAppliedOnce(t *testing.T) {
	s := town(t)
	c := cluster.Command{ID: cluster.ProposalID{Node: nodeB, Random: 99}, Do: &cluster.PlaceVM{VM: 1, Base: 1, Node: nodeB}}
	first, err := cluster.Apply(s, c)
	if err != nil {
		t.Fatal(err)
	}
	snap, _ := s.Encode()
	restored, err := cluster.Decode(snap)
	if err != nil {
		t.Fatal(err)
	}
	for _, st := range []*cluster.State{s, restored} { // also after a snapshot
		again, err := cluster.Apply(st, c)
		if err != nil || again.VM != first.VM || st.VMs[1].Generation != 2 {
			t.Errorf("second time: %+v, %v, generation %d; want the first result and generation 2", again, err, st.VMs[1].Generation)
		}
	}
	refused := cluster.Command{ID: cluster.ProposalID{Node: nodeB, Random: 100}, Do: &cluster.PlaceVM{VM: 1, Base: 7}}
	for range 2 {
		if _, err := cluster.Apply(s, refused); !errors.Is(err, cluster.ErrRefused) {
			t.Errorf("a refused proposal: %v; want the refusal again", err)
		}
	}
}

func TestARefusalSaysWhatIsAllowed(t *testing.T) {
	vol := []cluster.NewVolume{{Name: "v", SizeBytes: 1 << 20}}
	bad, big, five := 0, "x", 5
	for _, tc := range []struct {
		name string
		do   cluster.Action
		want string
	}{
		{"a group with a bad name", &cluster.CreateGroup{Name: "Mairie", Preferred: nodeA, Durability: cluster.Strict, Volumes: vol}, "lower-case"},
		{"a group that exists", &cluster.CreateGroup{Name: "citizen", Preferred: nodeA, Durability: cluster.Strict, Volumes: vol}, "exists already"},
		{"a group without volumes", &cluster.CreateGroup{Name: "g", Preferred: nodeA, Durability: cluster.Strict}, "use 1 to 16"},
		{"a volume that is too small", &cluster.CreateGroup{Name: "g", Preferred: nodeA, Durability: cluster.Strict, Volumes: []cluster.NewVolume{{Name: "v", SizeBytes: 4096}}}, "1 MiB to 64 TiB"},
		{"a volume of an odd size", &cluster.CreateGroup{Name: "g", Preferred: nodeA, Durability: cluster.Strict, Volumes: []cluster.NewVolume{{Name: "v", SizeBytes: 1<<20 + 1}}}, "steps of 4096"},
		{"a volume that is too large", &cluster.CreateGroup{Name: "g", Preferred: nodeA, Durability: cluster.Strict, Volumes: []cluster.NewVolume{{Name: "v", SizeBytes: 64<<40 + 4096}}}, "64 TiB"},
		{"a volume named twice", &cluster.CreateGroup{Name: "g", Preferred: nodeA, Durability: cluster.Strict, Volumes: append(vol, vol...)}, "twice"},
		{"a durability that is not known", &cluster.CreateGroup{Name: "g", Preferred: nodeA, Durability: "hopeful", Volumes: vol}, "use strict"},
		{"a group led by the witness", &cluster.CreateGroup{Name: "g", Preferred: witness, Durability: cluster.Strict, Volumes: vol}, "not in the in-sync set"},
		{"deleting a group with a VM", &cluster.DeleteGroup{Group: 1}, "delete that first"},
		{"deleting the citizens' group", &cluster.DeleteGroup{Group: 2}, "citizen service"},
		{"deleting no group", &cluster.DeleteGroup{Group: 77}, "does not exist"},
		{"a VM on the citizens' group", &cluster.CreateVM{Name: "vm", Group: 2, CPUs: 1, MemoryMB: 64, Firmware: "bios"}, "citizen service"},
		{"a second VM on the same disks", &cluster.CreateVM{Name: "vm", Group: 1, CPUs: 1, MemoryMB: 64, Firmware: "bios"}, "holds the disks"},
		{"a VM without processors", &cluster.UpdateVM{VM: 1, CPUs: &bad}, "use 1 to 128"},
		{"a VM without memory", &cluster.UpdateVM{VM: 1, MemoryMB: &bad}, "use 64 to"},
		{"a firmware that is not known", &cluster.UpdateVM{VM: 1, Firmware: &big}, "bios or uefi"},
		{"a VM with five network cards", &cluster.UpdateVM{VM: 1, Cards: &five}, "0 to 4"},
		{"deleting a running VM", &cluster.DeleteVM{VM: 1}, "stop it first"},
		{"a placement made for an older generation", &cluster.PlaceVM{VM: 1, Base: 0, Node: nodeB}, "generation 1"},
		{"a placement on the witness", &cluster.PlaceVM{VM: 1, Base: 1, Node: witness}, "not a data node"},
		{"a preference for the witness", &cluster.SetPreferred{Group: 1, Node: witness}, "not a data node"},
		{"a plain password", &cluster.SetUser{Name: "bob", User: cluster.User{Role: cluster.RoleViewer, Hash: "secret"}}, "argon2id"},
		{"a role that is not known", &cluster.SetUser{Name: "bob", User: cluster.User{Role: "mayor", Hash: "$argon2id$"}}, "admin, operator or viewer"},
		{"demoting the last administrator", &cluster.SetUser{Name: "admin", User: cluster.User{Role: cluster.RoleViewer, Hash: "$argon2id$"}}, "last administrator"},
		{"deleting the last administrator", &cluster.DeleteUser{Name: "admin"}, "last administrator"},
		{"a new store for a node that is in sync with its old one", &cluster.SetReplica{Node: nodeB, Replica: ident.UUID{5}}, "its old store"},
		{"a cloned store", &cluster.SetReplica{Node: nodeB, Replica: replica(nodeA)}, "clone"},
		{"an empty batch", &cluster.Batch{}, "use 1 to"},
	} {
		s := town(t)
		before, _ := s.Encode()
		_, err := cluster.Apply(s, cluster.Command{Do: tc.do})
		if !errors.Is(err, cluster.ErrRefused) || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v; want a refusal with %q", tc.name, err, tc.want)
		}
		if after, _ := s.Encode(); !bytes.Equal(before, after) {
			t.Errorf("%s: the refused command changed the state", tc.name)
		}
	}
	if _, err := cluster.Apply(town(t), cluster.Command{}); !errors.Is(err, cluster.ErrRefused) {
		t.Errorf("a command that does nothing: %v; want a refusal", err)
	}
}

func TestInABatchALostRaceDoesNotUndoTheOthers(t *testing.T) {
	s := town(t)
	r := mustApply(t, s, &cluster.Batch{Changes: []cluster.Reconfigure{
		{Group: 1, Base: 1, Kind: cluster.Promote, By: nodeB, New: cluster.Config{Primary: nodeB, InSync: []ident.Node{nodeB}}},
		{Group: 2, Base: 1, Kind: cluster.Shrink, By: nodeB, New: cluster.Config{Primary: nodeB, InSync: []ident.Node{nodeB}}},
	}})
	if len(r.Batch) != 2 || r.Batch[0].Refused == "" || r.Batch[1].Refused != "" || s.Groups[2].Config.Epoch != 2 {
		t.Errorf("batch: %+v; want the first refused and the second accepted", r)
	}
}

// TestNoHistoryOfChangesLosesAnAcknowledgedWrite draws random changes, mostly
// wrong ones, and holds every accepted one against the argument of the design:
// what was acknowledged in an epoch is held by every member of its in-sync set,
// so the next primary must come from that set, and whoever joins the set must
// have been brought up to date by the primary.
func TestNoHistoryOfChangesLosesAnAcknowledgedWrite(t *testing.T) {
	all := []ident.Node{nodeA, nodeB, nodeC, witness, 0}
	kinds := []cluster.ChangeKind{cluster.Shrink, cluster.Grow, cluster.Promote, cluster.Switch, cluster.Restart, "other"}
	accepted := map[cluster.ChangeKind]int{}
	pick := func(rng *rand.Rand, likely ident.Node) ident.Node {
		if rng.IntN(2) == 0 {
			return likely
		}
		return all[rng.IntN(len(all))]
	}
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 0))
		s := town(t)
		for step := range 200 {
			old := s.Groups[1].Config
			change := cluster.Reconfigure{Group: 1, Base: old.Epoch, Kind: kinds[rng.IntN(len(kinds))], By: pick(rng, old.Primary), Replica: replica(all[rng.IntN(3)])}
			change.New.Primary = pick(rng, old.Primary)
			for _, n := range all {
				if n != 0 && old.Has(n) == (rng.IntN(3) > 0) {
					change.New.InSync = append(change.New.InSync, n)
				}
			}
			if rng.IntN(20) == 0 {
				change.Base -= 1
			}
			_, err := cluster.Apply(s, cluster.Command{Do: &change})
			now := s.Groups[1].Config
			if err != nil {
				if now.Epoch != old.Epoch {
					t.Fatalf("seed %d step %d: a refused change took effect", seed, step)
				}
				continue
			}
			accepted[change.Kind]++
			if fault := judge(old, now, change); fault != "" {
				t.Fatalf("seed %d step %d: %+v after %+v: %s", seed, step, change, old, fault)
			}
			if err := s.Check(); err != nil {
				t.Fatalf("seed %d step %d: %v", seed, step, err)
			}
		}
	}
	for _, k := range kinds[:5] {
		if accepted[k] == 0 {
			t.Errorf("no %s was ever accepted; the test proves nothing about it", k)
		}
	}
}

func judge(old, now cluster.Config, c cluster.Reconfigure) string {
	if now.Epoch != old.Epoch+1 || c.Base != old.Epoch {
		return "the epoch did not grow by one"
	}
	if !old.Has(now.Primary) {
		return "the new primary may lack acknowledged writes"
	}
	for _, n := range now.InSync {
		if !old.Has(n) && (c.By != old.Primary || now.Primary != old.Primary || c.Replica != replica(n)) {
			return fmt.Sprintf("%v joined the set without the primary's word for this replica", n)
		}
	}
	if old.Primary != now.Primary && c.By != old.Primary && c.By != now.Primary {
		return "a third node made a node primary"
	}
	return ""
}

func FuzzApplyEntry(f *testing.F) {
	for _, do := range commands() {
		b, _ := (&cluster.Command{ID: cluster.ProposalID{Node: 1, Random: 2}, Do: do}).Encode()
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s := genesis()
		cluster.ApplyEntry(s, 1, b)
		cluster.ApplyEntry(s, 2, b)
		if err := s.Check(); err != nil {
			t.Fatalf("%s led to %v", b, err)
		}
		snap, err := s.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := cluster.Decode(snap); err != nil {
			t.Fatalf("%s led to a snapshot that cannot be read: %v", b, err)
		}
	})
}

func FuzzDecode(f *testing.F) {
	b, _ := genesis().Encode()
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := cluster.Decode(b)
		if err != nil {
			return
		}
		for _, do := range commands() {
			_, _ = cluster.Apply(s, cluster.Command{Do: do})
		}
		if _, err := s.Encode(); err != nil {
			t.Fatal(err)
		}
	})
}
