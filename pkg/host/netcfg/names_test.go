package netcfg_test

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"beffroi.dev/pkg/host/netcfg"
	"beffroi.dev/pkg/host/netcfg/nstest"
)

func TestNameServersAreWhereResolversLook(t *testing.T) {
	node, far := nstest.New(t, "node"), nstest.New(t, "far")
	nstest.Cable(t, node, "eth0", far, "lan")
	path := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(path, []byte("nameserver 192.0.2.9\n"), 0o600); err != nil { // of an earlier life
		t.Fatal(err)
	}
	e := netcfg.New(quiet(), netcfg.Options{Virtual: true, Names: path})
	servers := func(list ...string) (all []netip.Addr) {
		for _, s := range list {
			all = append(all, netip.MustParseAddr(s))
		}
		return all
	}
	dhcp := netcfg.Config{Lan: netcfg.Lan{Port: "eth0", Mode: "dhcp"}}
	own := netcfg.Config{Lan: netcfg.Lan{Port: "eth0", Mode: "dhcp", DNS: servers("2001:db8::53")}}
	static := netcfg.Config{Lan: netcfg.Lan{Port: "eth0", Mode: "static", Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.10/24")}, DNS: servers("192.0.2.53", "192.0.2.54")}}
	none := static
	none.Lan.DNS = nil
	apply := func(c netcfg.Config) func() error {
		return func() error { _, err := e.Apply(t.Context(), c); return err }
	}
	lease := func(l *netcfg.Lease) func() error {
		return func() error { return e.SetLease(t.Context(), l) }
	}
	for _, tc := range []struct {
		name string
		do   func() error
		want []string
	}{
		{"DHCP has not spoken", apply(dhcp), []string{"192.0.2.9"}},
		{"a lease", lease(&netcfg.Lease{Address: netip.MustParsePrefix("192.0.2.77/24"), DNS: servers("192.0.2.1", "192.0.2.2")}), []string{"192.0.2.1", "192.0.2.2"}},
		{"a renewal with another server", lease(&netcfg.Lease{Address: netip.MustParsePrefix("192.0.2.77/24"), DNS: servers("192.0.2.3")}), []string{"192.0.2.3"}},
		{"a person has named one", apply(own), []string{"2001:db8::53"}},
		{"the lease is gone", lease(nil), []string{"2001:db8::53"}},
		{"fixed", apply(static), []string{"192.0.2.53", "192.0.2.54"}},
		{"fixed, and none", apply(none), nil},
	} {
		node.Do(t, tc.do)
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for l := range strings.Lines(string(b)) {
			if s, ok := strings.CutPrefix(l, "nameserver "); ok {
				got = append(got, strings.TrimSpace(s))
			}
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s: %v; want %v", tc.name, got, tc.want)
		}
	}
	if i, err := os.Stat(path); err != nil || i.Mode().Perm() != 0o644 {
		t.Errorf("%v, %v; want it readable by all users", i.Mode(), err)
	}
}

func TestNameServersThatCannotBeWrittenStopNothing(t *testing.T) {
	node, far := nstest.New(t, "node"), nstest.New(t, "far")
	nstest.Cable(t, node, "eth0", far, "lan")
	e := netcfg.New(quiet(), netcfg.Options{Virtual: true, Names: filepath.Join(t.TempDir(), "gone", "resolv.conf")})
	node.Do(t, func() error {
		_, err := e.Apply(t.Context(), netcfg.Config{Lan: netcfg.Lan{Port: "eth0", Mode: "static",
			Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.10/24")}, DNS: []netip.Addr{netip.MustParseAddr("192.0.2.53")}}})
		if err != nil {
			return err
		}
		return has("br-lan", "192.0.2.10/24")
	})
}
