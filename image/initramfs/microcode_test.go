package initramfs

import (
	"bytes"
	"testing"

	"beffroi.dev/image/packages"
)

func TestTheMicrocodeOfBothMakersIsIn(t *testing.T) {
	const amd, intel = "usr/lib/firmware/amd-ucode/", "usr/lib/firmware/intel-ucode/"
	all := map[string]string{
		amd + "microcode_amd.bin": "[amd1]", amd + "microcode_amd_fam17h.bin": "[amd2]", amd + "README": "[read]", amd + "microcode_amd.bin.asc": "[asc]",
		intel + "06-3f-02": "[intel1]", intel + "06-8f-08": "[intel2]",
	}
	for _, tc := range []struct {
		name    string
		without string   // packages whose folder is this
		files   []string // of the archive
		holds   []string
		not     []string
	}{
		{"both", "", []string{"AuthenticAMD.bin", "GenuineIntel.bin"}, []string{"[amd1][amd2]", "[intel1][intel2]"}, []string{"[asc]", "[read]"}},
		{"no package of Intel's", intel, []string{"AuthenticAMD.bin"}, []string{"[amd1][amd2]"}, []string{"GenuineIntel.bin"}},
		{"no package of AMD's", amd, []string{"GenuineIntel.bin"}, []string{"[intel1][intel2]"}, []string{"AuthenticAMD.bin"}},
	} {
		tree := packages.Tree{}
		for p, text := range all {
			if tc.without == "" || !bytes.HasPrefix([]byte(p), []byte(tc.without)) {
				tree[p] = packages.Entry{File: packages.File{Path: p}, Data: []byte(text)}
			}
		}
		archive, err := Microcode(tree)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range tc.files {
			if !bytes.Contains(archive, []byte("kernel/x86/microcode/"+f+"\x00")) {
				t.Errorf("%s: no %s", tc.name, f)
			}
		}
		for _, h := range tc.holds {
			if !bytes.Contains(archive, []byte(h)) {
				t.Errorf("%s: no %s", tc.name, h)
			}
		}
		for _, h := range tc.not {
			if bytes.Contains(archive, []byte(h)) {
				t.Errorf("%s: it holds %s", tc.name, h)
			}
		}
	}
	if archive, err := Microcode(packages.Tree{}); err != nil || archive != nil {
		t.Errorf("of nothing: %d bytes, %v", len(archive), err)
	}
}
