package status_test

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"beffroi.dev/appliance/status"
)

func TestWhatInitSeesIsReadBackOrRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cables.json")
	want := []status.Cable{{Role: "fibre1", Card: "eth1", Carrier: true, MTU: 9000, Faults: []status.Flaw{{Code: "crossed", Text: "x"}}}}
	if err := status.SaveCables(path, want); err != nil {
		t.Fatal(err)
	}
	if got, err := status.LoadCables(path); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	for _, text := range []string{"", "{", `{"version":2,"content":[]}`, `{"version":1,"content":7}`} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := status.LoadCables(path); err == nil || len(got) != 0 {
			t.Errorf("%q was read as %+v", text, got)
		}
	}
	if _, err := status.LoadCables(path + ".none"); err == nil {
		t.Error("a file that is not there was read")
	}
}
