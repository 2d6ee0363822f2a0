package layout

import (
	"bytes"
	"errors"
	"io"
	"testing"
)

// memory is a disk that can lose power after some writes.
type memory struct {
	b    []byte
	left int // writes until the power cut; -1: never
	torn bool
}

var errPower = errors.New("power cut")

func (m *memory) ReadAt(p []byte, at int64) (int, error) { return bytes.NewReader(m.b).ReadAt(p, at) }
func (m *memory) Sync() error                            { return nil }
func (m *memory) WriteAt(p []byte, at int64) (int, error) {
	if m.left == 0 {
		if m.torn {
			copy(m.b[at:], p[:len(p)/2])
			m.torn = false
		}
		return 0, errPower
	}
	m.left--
	if at+int64(len(p)) > int64(len(m.b)) {
		return 0, io.ErrShortWrite
	}
	return copy(m.b[at:], p), nil
}

func small(t *testing.T) (*memory, Table) {
	t.Helper()
	plan, err := Config{Version: "1", ESP: 2 << 20, Seed: 1 << 20, State: 1 << 20, Store: 1 << 20}.Plan()
	if err != nil {
		t.Fatal(err)
	}
	m := &memory{b: make([]byte, plan.Bytes()), left: -1}
	if err := plan.Write(m); err != nil {
		t.Fatal(err)
	}
	return m, plan
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	m, plan := small(t)
	got, err := Read(m, plan.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []struct {
		kind         GUID
		name         string
		offset, size int64
	}{{TypeESP, "ESP", 1 << 20, 2 << 20}, {TypeSeed, "beffroi-seed", 3 << 20, 1 << 20},
		{TypeState, "beffroi-state", 4 << 20, 1 << 20}, {TypeStore, "beffroi-store", 5 << 20, 1 << 20}} {
		p, ok := got.Find(want.kind)
		if !ok || p.Number != i+1 || p.Name != want.name || p.Offset() != want.offset || p.Size() != want.size {
			t.Errorf("%s: %+v", want.name, p)
		}
	}
	if _, ok := got.Find(GUID{1}); ok {
		t.Error("a type that is not there was found")
	}
}

func TestGUIDsAreWrittenAsUsual(t *testing.T) {
	const s = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
	if TypeESP.String() != s || TypeESP[0] != 0x28 {
		t.Errorf("%v % x", TypeESP, TypeESP[:])
	}
	for _, bad := range []string{"", "c12a7328", "c12a7328-f81f-11d2-ba4b-00a0c93ec93x", "c12a7328f-81f-11d2-ba4b-00a0c93ec93b"} {
		if _, err := ParseGUID(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestADamagedStartIsReadFromTheEndAndMended(t *testing.T) {
	m, plan := small(t)
	m.b[Sector+60] ^= 1
	got, err := Read(m, plan.Bytes())
	if err != nil || !got.PrimaryLost {
		t.Fatalf("%+v, %v", got, err)
	}
	if changed, err := Grow(m, plan.Bytes()); err != nil || !changed {
		t.Fatal(changed, err)
	}
	if got, err = Read(m, plan.Bytes()); err != nil || got.PrimaryLost {
		t.Fatal(got, err)
	}
	m.b[len(m.b)-1-Sector] ^= 0xff
	m.b[2*Sector] ^= 1
	if _, err := Read(m, plan.Bytes()); !errors.Is(err, ErrNoTable) {
		t.Fatal(err)
	}
}

func TestGrowGivesTheStoreTheRestOfTheDisk(t *testing.T) {
	m, plan := small(t)
	m.b = append(m.b, make([]byte, 10<<20+777)...)
	size := int64(len(m.b))
	if changed, err := Grow(m, size); err != nil || !changed {
		t.Fatal(changed, err)
	}
	got, err := Read(m, size)
	if err != nil {
		t.Fatal(err)
	}
	before, _ := plan.Find(TypeStore)
	p, _ := got.Find(TypeStore)
	if p.First != before.First || p.Size() != 11<<20 {
		t.Errorf("the store has %d bytes from sector %d", p.Size(), p.First)
	}
	if changed, err := Grow(m, size); err != nil || changed {
		t.Errorf("a second Grow: %v, %v", changed, err)
	}
}

func TestADiskThatIsTooSmallIsRefused(t *testing.T) {
	m, plan := small(t)
	m.b = m.b[:4<<20]
	if _, err := Read(m, 4<<20); !errors.Is(err, ErrNoTable) || !errors.Is(err, ErrTooSmall) {
		t.Error(err)
	}
	if _, err := Grow(m, 100); err == nil {
		t.Error("100 bytes grew")
	}
	_ = plan
}

// After a power cut at any write of Grow, whole or torn, the disk still has a
// table with all partitions, and a second Grow ends the work.
func TestGrowSurvivesAPowerCut(t *testing.T) {
	for _, torn := range []bool{false, true} {
		for cut := range 6 {
			m, _ := small(t)
			m.b = append(m.b, make([]byte, 3<<20)...)
			m.left, m.torn = cut, torn
			_, err := Grow(m, int64(len(m.b)))
			if cut < 5 && !errors.Is(err, errPower) {
				t.Fatalf("cut %d: %v", cut, err)
			}
			got, err := Read(m, int64(len(m.b)))
			if err != nil || len(got.Partitions) != 4 {
				t.Fatalf("cut %d torn %v: %+v, %v", cut, torn, got, err)
			}
			m.left = -1
			if _, err := Grow(m, int64(len(m.b))); err != nil {
				t.Fatalf("cut %d torn %v: %v", cut, torn, err)
			}
			if changed, err := Grow(m, int64(len(m.b))); changed || err != nil {
				t.Fatalf("cut %d torn %v: third Grow %v, %v", cut, torn, changed, err)
			}
		}
	}
}

func FuzzRead(f *testing.F) {
	plan, err := Config{Version: "1", ESP: 1 << 20, Seed: 1 << 20, State: 1 << 20, Store: 1 << 20}.Plan()
	if err != nil {
		f.Fatal(err)
	}
	m := &memory{b: make([]byte, plan.Bytes()), left: -1}
	if err := plan.Write(m); err != nil {
		f.Fatal(err)
	}
	f.Add(m.b[:40*Sector])
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := Read(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		for _, p := range got.Partitions {
			if p.Offset() < 0 || p.Size() <= 0 || p.Offset()+p.Size() > int64(len(b)) {
				t.Errorf("partition outside of the disk: %+v", p)
			}
		}
	})
}
