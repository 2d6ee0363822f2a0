package boot

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"beffroi.dev/pkg/host/netcfg"
)

func TestALeaseIsHeldFromOneLifeOfInitToTheNext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lease.json")
	read := func() *netcfg.Lease {
		l, err := heldLease(path)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	if l := read(); l != nil {
		t.Errorf("nothing was held, and is %+v", l)
	}
	want := &netcfg.Lease{Address: netip.MustParsePrefix("192.0.2.7/24"), Gateway: netip.MustParseAddr("192.0.2.1"), Expires: time.Unix(1e9, 0)}
	if err := holdLease(path, want); err != nil {
		t.Fatal(err)
	}
	if got := read(); got == nil || got.Address != want.Address || got.Gateway != want.Gateway || !got.Expires.Equal(want.Expires) {
		t.Errorf("held %+v; want %+v", got, want)
	}
	for range 2 { // also when there is none
		if err := holdLease(path, nil); err != nil {
			t.Fatal(err)
		}
	}
	if l := read(); l != nil {
		t.Errorf("it was lost, and is %+v", l)
	}
	for _, text := range []string{"", "{", "[]", "{}", `{"address":"fe80::1/64"}`} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if l, err := heldLease(path); err == nil {
			t.Errorf("%q was read as %+v", text, l)
		}
	}
}
