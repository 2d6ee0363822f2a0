package mirror_test

import (
	"errors"
	"testing"

	"beffroi.dev/pkg/block/frame"
	"beffroi.dev/pkg/block/mirror"
	"beffroi.dev/pkg/disk"
	"beffroi.dev/pkg/ident"
)

// The user of a local group keeps in its memory what it has read. So it is closed out as
// soon as anybody else may have written, and stays so when this node leads again.
func TestALocalUserWritesOnlyInTheReignItWasOpenedIn(t *testing.T) {
	s, _ := freshSolo(t)
	me, both := []ident.Node{soloSelf}, []ident.Node{soloSelf, soloPeer}
	for _, step := range []struct {
		name    string
		epoch   ident.Epoch
		primary ident.Node
		set     []ident.Node
		since   ident.Epoch
	}{
		{"it leads", 2, soloSelf, me, 1},
		{"the next epoch is its own, too", 3, soloSelf, me, 1},
		{"the twin leads", 4, soloPeer, both, 0},
		{"it leads again", 5, soloSelf, me, 5},
		{"an epoch that it never saw lies between", 7, soloSelf, me, 7},
	} {
		s.core.Configure([]mirror.GroupSpec{{ID: soloGroup, Local: true, Volumes: []mirror.VolumeSpec{{ID: soloVol, Size: soloSize}}, Conf: frame.Conf{
			Epoch: step.epoch, Primary: step.primary, InSync: step.set, Lineage: 1,
		}}}, soloGroup+1)
		s.work()
		if st, _ := s.core.Status(soloGroup); st.Epoch != step.epoch || st.Since != step.since {
			t.Fatalf("%s: epoch %d, leads since %d; want %d, %d", step.name, st.Epoch, st.Since, step.epoch, step.since)
		}
		for _, token := range []ident.Epoch{0, 1, 5, 7, 9} {
			for _, op := range []disk.Op{disk.Write, disk.Read} {
				r := &disk.Request{Op: op, Len: disk.BlockSize, Data: make([]byte, disk.BlockSize), Err: errors.New("not answered"), Done: func(*disk.Request) {}}
				s.core.Submit(soloGroup, soloVol, uint64(token), []*disk.Request{r})
				s.work()
				want := disk.ErrClosed
				if token == step.since && step.since != 0 {
					want = nil
				}
				if !errors.Is(r.Err, want) {
					t.Errorf("%s: operation %v of a user since epoch %d: %v; want %v", step.name, op, token, r.Err, want)
				}
			}
		}
	}
}
