package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"beffroi.dev/appliance/control"
	"beffroi.dev/pkg/quorum/cluster"
	"beffroi.dev/tools/histories/rig"
)

const (
	foreignBytes  = 32 << 20
	foreignExport = "foreign/data"
)

// tool runs a foreign program. Without it the test is skipped with the reason;
// with BEFFROI_REQUIRE_TOOLS=1 that is a failure.
func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil && os.Getenv("BEFFROI_REQUIRE_TOOLS") != "1" {
		t.Skipf("%s is not installed", name)
	}
	if err != nil {
		t.Fatalf("%s is required: %v", name, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir = t.TempDir()                                                   // fio leaves its state behind
	cmd.Env = append(os.Environ(), "PATH=/usr/bin:/bin:"+os.Getenv("PATH")) // nbdsh's binding fits the distribution's own Python only
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// TestForeignClientsFindADiskOnBothNodes has one volume used through the socket of
// the node that leads it and through that of its twin, which forwards.
func TestForeignClientsFindADiskOnBothNodes(t *testing.T) {
	r := newRig(t)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	a := r.Node("a")
	if _, err := control.NewClient(a.Control).Propose(ctx, &cluster.CreateGroup{
		Name: "foreign", Preferred: a.ID, Durability: cluster.Strict, Volumes: []cluster.NewVolume{{Name: "data", SizeBytes: foreignBytes}},
	}); err != nil {
		t.Fatal(err)
	}
	for _, node := range []string{"a", "b"} {
		if _, err := r.Until(ctx, 10*time.Second, "the volume is mirrored", func(s rig.Status) bool {
			v := s.Volume(foreignExport)
			return v.State == "mirrored" && v.Primary == "a"
		}); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Group(ctx, node, "foreign"); err != nil {
			t.Fatal(err)
		}
		socket := r.Node(node).NBD
		uri := fmt.Sprintf("nbd+unix:///%s?socket=%s", foreignExport, socket)
		other := fmt.Sprintf("nbd+unix:///%s?socket=%s", foreignExport, r.Node(rig.Twin(node)).NBD)
		t.Run("nbdinfo on "+node, func(t *testing.T) { nbdinfo(t, uri) })
		t.Run("nbdcopy and qemu-img on "+node, func(t *testing.T) { copies(t, uri, other) })
		t.Run("qemu-io on "+node, func(t *testing.T) { qemuIO(t, uri, other) })
		t.Run("fio on "+node, func(t *testing.T) { fio(t, uri) })
		t.Run("nbdsh on "+node, func(t *testing.T) { nbdsh(t, uri) })
	}
}

func nbdinfo(t *testing.T, uri string) {
	var info struct {
		Exports []map[string]any
	}
	if err := json.Unmarshal([]byte(tool(t, "nbdinfo", "--json", uri)), &info); err != nil {
		t.Fatal(err)
	}
	if len(info.Exports) != 1 {
		t.Fatalf("nbdinfo shows %d exports", len(info.Exports))
	}
	for key, want := range map[string]any{
		"export-name": foreignExport, "export-size": float64(foreignBytes), "is_read_only": false, "can_multi_conn": true, "can_flush": true,
		"can_fua": true, "can_trim": true, "can_zero": true, "can_cache": true, "block_size_preferred": 4096.0,
	} {
		if got := info.Exports[0][key]; got != want {
			t.Errorf("%s = %v; want %v", key, got, want)
		}
	}
	if out := tool(t, "nbdinfo", "--list", strings.Replace(uri, foreignExport, "", 1)); !strings.Contains(out, `export="`+foreignExport+`"`) {
		t.Errorf("nbdinfo --list = %s", out)
	}
}

// copies brings an image in through one node and out through both.
func copies(t *testing.T, uri, other string) {
	dir := t.TempDir()
	source, back, qcow := filepath.Join(dir, "source.raw"), filepath.Join(dir, "back.raw"), filepath.Join(dir, "image.qcow2")
	data := make([]byte, foreignBytes)
	_, _ = rand.NewChaCha8([32]byte{byte(len(uri))}).Read(data[1<<20 : 9<<20])
	if err := os.WriteFile(source, data, 0o600); err != nil {
		t.Fatal(err)
	}
	tool(t, "nbdcopy", "--connections=4", "--flush", source, uri)
	for _, from := range []string{uri, other} {
		tool(t, "nbdcopy", from, back)
		if got, err := os.ReadFile(back); err != nil || !bytes.Equal(got, data) {
			t.Errorf("the copy from %s differs from its source (%v)", from, err)
		}
	}
	tool(t, "qemu-img", "compare", "-f", "raw", "-F", "raw", source, uri)
	tool(t, "qemu-img", "convert", "-f", "raw", "-O", "qcow2", uri, qcow)
	tool(t, "qemu-img", "convert", "-n", "-f", "qcow2", "-O", "raw", qcow, uri)
	tool(t, "qemu-img", "compare", "-f", "qcow2", "-F", "raw", qcow, other)
}

func qemuIO(t *testing.T, uri, other string) {
	checks := []string{"-c", "read -P 0xa5 4k 100k", "-c", "read -P 0x5a 3 509", "-c", "read -P 0 2M 2M"}
	out := tool(t, "qemu-io", append(append([]string{"-f", "raw", "-c", "write -P 0xa5 4k 1M", "-c", "write -f -P 0x5a 3 509", "-c", "flush",
		"-c", "discard 512k 64k", "-c", "write -z -u 2M 1M", "-c", "write -z 3M 1M"}, checks...), uri)...)
	out += tool(t, "qemu-io", append(append([]string{"-f", "raw"}, checks...), other)...)
	for _, bad := range []string{"failed", "error"} {
		if strings.Contains(out, bad) {
			t.Errorf("qemu-io = %s", out)
		}
	}
}

func fio(t *testing.T, uri string) {
	tool(t, "fio", "--name=v", "--ioengine=nbd", "--uri="+uri, "--rw=randwrite", "--bsrange=4k-128k", "--iodepth=32",
		fmt.Sprintf("--size=%d", foreignBytes), "--verify=crc32c", "--do_verify=1", "--verify_fatal=1", "--fsync=64")
}

// nbdsh writes, flushes and reads by libnbd's shell, at odd places and with FUA.
func nbdsh(t *testing.T, uri string) {
	out := tool(t, "nbdsh", "-u", uri, "-c", `
h.pwrite(b"beffroi" * 100, 12345, nbd.CMD_FLAG_FUA)
h.flush()
assert h.pread(700, 12345) == b"beffroi" * 100
h.zero(4096, 8192)
assert h.pread(4096, 8192) == bytearray(4096)
try:
    h.set_strict_mode(0)
    h.pread(4096, h.get_size())
    print("a read beyond the end was not refused")
except nbd.Error:
    print("size", h.get_size())
`)
	if want := fmt.Sprintf("size %d\n", foreignBytes); out != want {
		t.Errorf("nbdsh = %q; want %q", out, want)
	}
}
