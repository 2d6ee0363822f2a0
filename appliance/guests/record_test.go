package guests

import (
	"errors"
	"os"
	"testing"
)

func TestARecordSurvivesAndOthersAreRefused(t *testing.T) {
	dir := t.TempDir()
	if _, ok, err := loadRecord(dir); ok || err != nil {
		t.Errorf("an empty folder: %v, %v", ok, err)
	}
	want := record{Version: recordVersion, VM: 7, Generation: 3, Accel: "tcg"}
	if err := want.save(dir); err != nil {
		t.Fatal(err)
	}
	if got, ok, err := loadRecord(dir); got != want || !ok || err != nil {
		t.Errorf("read %+v, %v, %v; want %+v", got, ok, err, want)
	}
	b, err := os.ReadFile(recordPath(dir))
	if golden := `{"version":1,"vm":7,"generation":3,"accel":"tcg"}` + "\n"; string(b) != golden || err != nil {
		t.Errorf("on disk: %s (%v); want %s", b, err, golden)
	}
	for _, bad := range []string{"", "{", `{"version":2,"vm":7,"generation":3}`, `{"version":1,"vm":0,"generation":3}`, `{"version":1,"vm":7}`} {
		if err := os.WriteFile(recordPath(dir), []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if r, ok, err := loadRecord(dir); ok || err == nil || errors.Is(err, os.ErrNotExist) {
			t.Errorf("%q is read as %+v", bad, r)
		}
	}
}

func FuzzRecord(f *testing.F) {
	f.Add([]byte(`{"version":1,"vm":7,"generation":3,"accel":"tcg"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := decodeRecord(b); err == nil && (r.VM == 0 || r.Generation == 0) || err != nil && r != (record{}) {
			t.Fatalf("%+v, %v", r, err)
		}
	})
}
