package mirror_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"testing"
	"time"

	"beffroi.dev/pkg/block/frame"
	"beffroi.dev/pkg/block/mirror"
	"beffroi.dev/pkg/block/seglog"
	"beffroi.dev/pkg/clock"
	"beffroi.dev/pkg/disk"
	"beffroi.dev/pkg/disk/simdisk"
	"beffroi.dev/pkg/ident"
)

// step is one thing that a device saw, or an acknowledgment that its user saw.
type step struct {
	off  int64  // of a write
	data []byte // nil for a sync and for an acknowledgment
	ack  *ack
}

// ack says that a block holds a value, durably.
type ack struct {
	lba   uint64
	value uint64
}

// recorder notes every write and sync on its way to a simulated disk.
type recorder struct {
	*simdisk.Disk
	steps []step
}

func (r *recorder) WriteAt(p []byte, off int64) (int, error) {
	r.steps = append(r.steps, step{off: off, data: append([]byte(nil), p...)})
	return r.Disk.WriteAt(p, off)
}

func (r *recorder) Sync() error {
	r.steps = append(r.steps, step{})
	return r.Disk.Sync()
}

const (
	soloSelf  = ident.Node(1)
	soloPeer  = ident.Node(2)
	soloGroup = ident.Group(1)
	soloVol   = ident.Volume(1)
	soloSize  = 64 * disk.BlockSize
)

var soloPair = ident.UUID{7}

func soloConfig() mirror.Config {
	s := time.Second
	return mirror.Config{Self: soloSelf, Peer: soloPeer, SaveEvery: 25, Timing: mirror.Timing{
		Heartbeat: s / 10, Lease: s, Grace: 2 * s, Shrink: s, Evict: s, Retry: s, Hold: 15 * s,
	}}
}

// solo is one core over one device, driven by hand.
type solo struct {
	t    testing.TB
	core *mirror.Core
	dev  disk.Device
	now  clock.Instant
	vote func(p mirror.Proposal) // answers proposals
}

func openSolo(t testing.TB, dev disk.Device) (*solo, error) {
	l, rec, err := seglog.Open(dev, soloPair, nil)
	if err != nil {
		return nil, err
	}
	core, err := mirror.Open(soloConfig(), l, rec, 1, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	s := &solo{t: t, core: core, dev: dev, now: 1}
	s.vote = func(p mirror.Proposal) {
		core.ProposalDone(p, mirror.Chosen)
		s.configure(p.Conf.Epoch)
	}
	return s, nil
}

// configure makes the node the only member of its group.
func (s *solo) configure(epoch ident.Epoch) {
	s.core.Configure([]mirror.GroupSpec{{ID: soloGroup, Volumes: []mirror.VolumeSpec{{ID: soloVol, Size: soloSize}}, Conf: frame.Conf{
		Epoch: epoch, Primary: soloSelf, InSync: []ident.Node{soloSelf}, Lineage: 1,
	}}}, soloGroup+1)
}

// work does what the core asks for until it rests. Frames are done before reads.
func (s *solo) work() {
	for {
		r := s.core.Take()
		if r.Write == nil && r.Save == nil && len(r.Reads)+len(r.Proposals)+len(r.Done) == 0 {
			return
		}
		if w := r.Write; w != nil {
			_, err := s.dev.WriteAt(w.Buf, w.Off)
			s.core.FrameDone(w, errors.Join(err, s.dev.Sync()))
		}
		for _, rd := range r.Reads {
			_, rd.Err = s.dev.ReadAt(rd.Buf, int64(rd.Loc)*disk.BlockSize)
			rd.Check()
			s.core.ReadDone(rd)
		}
		if r.Save != nil {
			s.core.SaveDone(r.Save, r.Save.Write(s.dev))
		}
		for _, p := range r.Proposals {
			s.vote(p)
		}
		disk.Finish(r.Done...)
	}
}

// restart confirms the group after a recovery, as the vote would (R7).
func (s *solo) restart() {
	s.configure(1) // unchanged: the log knows it already
	for range 5 {
		s.now = s.now.Add(time.Second)
		s.core.Tick(s.now)
		s.work()
	}
}

func (s *solo) submit(r *disk.Request) *disk.Request {
	if r.Done == nil {
		r.Done = func(*disk.Request) {}
	}
	s.core.Submit(soloGroup, soloVol, 0, []*disk.Request{r})
	return r
}

// record runs a history of writes, zeros and checkpoints and returns all that
// the device and the user saw.
func record(t *testing.T, seed uint64) []step {
	rng := rand.New(rand.NewPCG(seed, 1))
	rec := &recorder{Disk: simdisk.New(seglog.MinSize)}
	if err := seglog.Format(rec, seglog.Identity{Pair: soloPair, Replica: ident.UUID{9}}, 42); err != nil {
		t.Fatal(err)
	}
	rec.steps = nil
	s, err := openSolo(t, rec)
	if err != nil {
		t.Fatal(err)
	}
	s.configure(1)
	s.work()
	value := uint64(0)
	for range 120 {
		for range 1 + rng.IntN(6) { // a batch that shares a frame
			value++
			v, lba := value, uint64(rng.IntN(soloSize/disk.BlockSize))
			req := &disk.Request{Op: disk.Write, Off: int64(lba) * disk.BlockSize, Len: disk.BlockSize, Data: make([]byte, disk.BlockSize)}
			binary.LittleEndian.PutUint64(req.Data, v)
			if rng.IntN(10) == 0 {
				req.Op, req.Data, v = disk.Zero, nil, 0
			}
			req.Done = func(r *disk.Request) {
				if r.Err != nil {
					t.Fatalf("write: %v", r.Err)
				}
				rec.steps = append(rec.steps, step{ack: &ack{lba, v}})
			}
			s.submit(req)
		}
		s.work()
	}
	return rec.steps
}

// image is a device after a power cut: the synced writes, and of the others what
// keep says, sector by sector in the order it says.
func image(t *testing.T, steps []step, synced int, unsynced []step, keep func(sectors int) []int) *simdisk.Disk {
	t.Helper()
	d := simdisk.New(seglog.MinSize)
	if err := seglog.Format(d, seglog.Identity{Pair: soloPair, Replica: ident.UUID{9}}, 42); err != nil {
		t.Fatal(err)
	}
	put := func(p []byte, off int64) {
		if _, err := d.WriteAt(p, off); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range steps[:synced] {
		if s.data != nil {
			put(s.data, s.off)
		}
	}
	var sectors []step
	for _, s := range unsynced {
		for i := 0; i < len(s.data); i += disk.SectorSize {
			sectors = append(sectors, step{off: s.off + int64(i), data: s.data[i:min(i+disk.SectorSize, len(s.data))]})
		}
	}
	for _, i := range keep(len(sectors)) {
		put(sectors[i].data, sectors[i].off)
	}
	if err := d.Sync(); err != nil {
		t.Fatal(err)
	}
	return d
}

// verify recovers an image and holds it against what was acknowledged: each
// block shows its last acknowledged value or one that was issued later.
func verify(t *testing.T, d *simdisk.Disk, steps []step, cut int) error {
	s, err := openSolo(t, d)
	if err != nil {
		return fmt.Errorf("recovery: %w", err)
	}
	if _, ok := s.core.Status(soloGroup); !ok {
		if cut > 3 {
			return errors.New("the group is gone")
		}
		return nil
	}
	s.restart()
	acked, later := map[uint64]uint64{}, map[uint64]map[uint64]bool{}
	for i, st := range steps {
		switch {
		case st.ack == nil:
		case i < cut:
			acked[st.ack.lba] = st.ack.value
		default:
			if later[st.ack.lba] == nil {
				later[st.ack.lba] = map[uint64]bool{}
			}
			later[st.ack.lba][st.ack.value] = true
		}
	}
	r := s.submit(&disk.Request{Op: disk.Read, Len: soloSize, Data: make([]byte, soloSize)})
	s.work()
	if r.Err != nil {
		return fmt.Errorf("read after recovery: %w", r.Err)
	}
	for lba := range uint64(soloSize / disk.BlockSize) {
		got := binary.LittleEndian.Uint64(r.Data[lba*disk.BlockSize:])
		if got != acked[lba] && !later[lba][got] {
			return fmt.Errorf("block %d holds %d; acknowledged was %d", lba, got, acked[lba])
		}
	}
	return nil
}

// split returns how many steps lie before the last sync up to cut, and the
// writes after it.
func split(steps []step, cut int) (synced int, unsynced []step) {
	for i := cut - 1; i >= 0; i-- {
		if steps[i].data == nil && steps[i].ack == nil {
			synced = i + 1
			break
		}
	}
	for _, s := range steps[synced:cut] {
		if s.data != nil {
			unsynced = append(unsynced, s)
		}
	}
	return synced, unsynced
}

func upTo(n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	return all
}

func TestEveryPrefixOfTheWritesRecovers(t *testing.T) {
	steps := record(t, 1)
	stride := 1
	if testing.Short() {
		stride = 7
	}
	for cut := 0; cut <= len(steps); cut += stride {
		synced, unsynced := split(steps, cut)
		for name, keep := range map[string]func(int) []int{"all": upTo, "none": func(int) []int { return nil }} {
			if err := verify(t, image(t, steps, synced, unsynced, keep), steps, cut); err != nil {
				t.Fatalf("power cut after step %d, %s of the unsynced writes kept: %v", cut, name, err)
			}
		}
	}
	t.Logf("%d power cuts", 2*(len(steps)/stride+1))
}

func TestTornAndReorderedSubsetsRecover(t *testing.T) {
	n := 2000
	if testing.Short() {
		n = 150
	}
	torn := 0
	for seed := range uint64(n) {
		rng := rand.New(rand.NewPCG(seed, 3))
		if seed%200 == 0 {
			recorded = record(t, 100+seed)
		}
		cut := rng.IntN(len(recorded) + 1)
		synced, unsynced := split(recorded, cut)
		keep := func(sectors int) []int {
			order := rng.Perm(sectors)
			k := rng.IntN(sectors + 1)
			if k > 0 && k < sectors {
				torn++
			}
			return order[:k]
		}
		if err := verify(t, image(t, recorded, synced, unsynced, keep), recorded, cut); err != nil {
			t.Fatalf("seed %d, power cut after step %d: %v", seed, cut, err)
		}
	}
	t.Logf("%d power cuts, %d of them tore unsynced writes", n, torn)
	if torn < n/10 {
		t.Errorf("only %d of %d cuts tore anything", torn, n)
	}
}

var recorded []step

func TestADamagedFrameInTheMiddleIsNotATornTail(t *testing.T) {
	steps := record(t, 5)
	d := image(t, steps, len(steps), nil, func(int) []int { return nil })
	// Find a frame that was written in the middle, and flip a bit of its header.
	var writes []step
	for _, s := range steps {
		if len(s.data) >= 8 && string(s.data[:8]) == "BFRFRAME" {
			writes = append(writes, s)
		}
	}
	if !d.Rot(writes[len(writes)-8].off+40, 3) {
		t.Fatal("nothing to damage")
	}
	_, err := openSolo(t, d)
	if !errors.Is(err, seglog.ErrCorrupt) {
		t.Errorf("open = %v; want ErrCorrupt", err)
	}
}

// bigGroup is the group with a volume of another size.
func bigGroup(size int64) mirror.GroupSpec {
	return mirror.GroupSpec{ID: soloGroup, Volumes: []mirror.VolumeSpec{{ID: soloVol, Size: size}}, Conf: frame.Conf{
		Epoch: 1, Primary: soloSelf, InSync: []ident.Node{soloSelf}, Lineage: 1,
	}}
}
