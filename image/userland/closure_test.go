package userland

import (
	"slices"
	"strings"
	"testing"

	"beffroi.dev/image/packages"
)

// whole is a tree in which no program is missing, with some firmware.
func whole(firmware map[string]string) packages.Tree {
	t := packages.Tree{}
	put := func(p, link string) {
		t[p] = packages.Entry{File: packages.File{Path: p, Mode: 0o644, Link: link}, Data: []byte(p)}
	}
	for _, p := range slices.Concat(programs, files) {
		put(p, "")
	}
	for p, link := range firmware {
		put("usr/lib/firmware/"+p, link)
	}
	return t
}

func TestTheFirmwareThatModulesAskForComesAlong(t *testing.T) {
	tree := whole(map[string]string{
		"intel/ice/ddp/ice.pkg": "ice-1.3.30.0.pkg", "intel/ice/ddp/ice-1.3.30.0.pkg": "",
		"tigon/tg3.bin": "", "bnx2x/bnx2x-e2-7.13.21.0.fw": "", "rtl_nic/rtl8125a-3.fw": "", "iwlwifi-1.ucode": "",
	})
	for _, tc := range []struct{ name, asked, chosen, missing string }{
		{"a link and what it leads to", "intel/ice/ddp/ice.pkg", "intel/ice/ddp/ice-1.3.30.0.pkg intel/ice/ddp/ice.pkg", ""},
		{"several", "tigon/tg3.bin bnx2x/bnx2x-e2-7.13.21.0.fw", "bnx2x/bnx2x-e2-7.13.21.0.fw tigon/tg3.bin", ""},
		{"a pattern", "rtl_nic/rtl8125*.fw", "rtl_nic/rtl8125a-3.fw", ""},
		{"one that no package holds", "tigon/tg3.bin tigon/tg3_tso.bin", "tigon/tg3.bin", "tigon/tg3_tso.bin"},
		{"a pattern that nothing answers", "mellanox/*.mfa2", "", "mellanox/*.mfa2"},
	} {
		asked := strings.Fields(tc.asked)
		paths, err := Choose(tree, asked)
		if err != nil {
			t.Fatalf("%s: %v", tc.name, err)
		}
		var got []string
		for _, p := range paths {
			if f, ok := strings.CutPrefix(p, "usr/lib/firmware/"); ok {
				got = append(got, f)
			}
		}
		if strings.Join(got, " ") != tc.chosen {
			t.Errorf("%s: %v, want %s", tc.name, got, tc.chosen)
		}
		if missing := strings.Join(Missing(paths, asked), " "); missing != tc.missing {
			t.Errorf("%s: missing %q, want %q", tc.name, missing, tc.missing)
		}
	}
}

func TestAProgramThatIsInNoPackageStopsTheBuild(t *testing.T) {
	tree := whole(nil)
	delete(tree, programs[0])
	if _, err := Choose(tree, nil); err == nil || !strings.Contains(err.Error(), programs[0]) {
		t.Errorf("%v", err)
	}
}
