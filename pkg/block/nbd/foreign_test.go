package nbd_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"beffroi.dev/pkg/block/nbd"
	"beffroi.dev/pkg/disk"
)

// tool finds a program, or skips the test with the reason. With
// BEFFROI_REQUIRE_TOOLS=1 its absence is a failure.
func tool(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err == nil {
		return path
	}
	if os.Getenv("BEFFROI_REQUIRE_TOOLS") == "1" {
		t.Fatalf("%s is required: %v", name, err)
	}
	t.Skipf("%s is not installed", name)
	return ""
}

func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(tool(t, name), args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

func uri(s *served, export string) string {
	return fmt.Sprintf("nbd+unix:///%s?socket=%s", export, s.socket)
}

// fioWrites returns writes per second of a run of fio.
func fioWrites(t testing.TB, args ...string) float64 {
	t.Helper()
	cmd := exec.Command(tool(t, "fio"), append(args, "--output-format=json")...)
	cmd.Dir = t.TempDir() // it leaves its state of verification where it runs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("fio: %v\n%s", err, out)
	}
	var r struct {
		Jobs []struct {
			Write struct {
				IOPS float64 `json:"iops"`
			} `json:"write"`
		} `json:"jobs"`
	}
	if i := bytes.IndexByte(out, '{'); i > 0 {
		out = out[i:] // the engine chats before the result
	}
	if err := json.Unmarshal(out, &r); err != nil || len(r.Jobs) == 0 {
		t.Fatalf("fio printed %v\n%s", err, out)
	}
	return r.Jobs[0].Write.IOPS
}

// fileExport is an export over a real file.
func fileExport(t testing.TB, name string, size int64) nbd.Export {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.raw")
	if err := disk.CreateFile(path, size); err != nil {
		t.Fatal(err)
	}
	f, err := disk.OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	q := disk.NewQueue(context.Background(), f, 8)
	t.Cleanup(func() {
		if err := errors.Join(q.Close(), f.Close()); err != nil {
			t.Errorf("close the file: %v", err)
		}
	})
	return nbd.Export{Name: name, Description: "a file", Queue: q}
}

const foreignSize = 32 << 20

func TestNbdinfoShowsWhatIsServed(t *testing.T) {
	m := newMemory(t, foreignSize)
	copy(m.data[8192:], "written")
	m.written[2] = true
	s := serve(t, nbd.Config{}, nbd.Export{Name: "v", Description: "first disk", Queue: m}, nbd.Export{Name: "ro", Queue: m, ReadOnly: true})
	var info struct {
		Protocol   string
		Structured bool
		Exports    []map[string]any
	}
	if err := json.Unmarshal([]byte(run(t, "nbdinfo", "--json", uri(s, "v"))), &info); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"export-name": "v", "description": "first disk", "export-size": float64(foreignSize), "is_read_only": false,
		"can_multi_conn": true, "can_flush": true, "can_fua": true, "can_trim": true, "can_zero": true, "can_fast_zero": true,
		"can_cache": true, "can_df": true, "is_rotational": false, "block_size_minimum": 1.0, "block_size_preferred": 4096.0,
		"block_size_maximum": float64(32 << 20), "contexts": []any{"base:allocation"},
	}
	if info.Protocol != "newstyle-fixed" || len(info.Exports) != 1 {
		t.Fatalf("nbdinfo = %+v; want one export over newstyle-fixed", info)
	}
	for key, w := range want {
		if got := info.Exports[0][key]; !reflect.DeepEqual(got, w) {
			t.Errorf("%s = %v; want %v", key, got, w)
		}
	}
	if out := run(t, "nbdinfo", "--list", uri(s, "")); !strings.Contains(out, `export="v"`) || !strings.Contains(out, `export="ro"`) {
		t.Errorf("nbdinfo --list = %s; want both exports", out)
	}
	if out := run(t, "nbdinfo", uri(s, "ro")); !strings.Contains(out, "is_read_only: true") || !strings.Contains(out, "can_trim: false") {
		t.Errorf("nbdinfo of a read-only export = %s", out)
	}
	out := strings.Join(strings.Fields(run(t, "nbdinfo", "--map", uri(s, "v"))), " ")
	if want := fmt.Sprintf("0 8192 3 hole,zero 8192 4096 0 data 12288 %d 3 hole,zero", foreignSize-12288); out != want {
		t.Errorf("nbdinfo --map = %s; want %s", out, want)
	}
}

func TestImagesSurviveACopyBothWays(t *testing.T) {
	s := serve(t, nbd.Config{}, fileExport(t, "v", foreignSize))
	dir := t.TempDir()
	source, back := filepath.Join(dir, "source.raw"), filepath.Join(dir, "back.raw")
	data := make([]byte, foreignSize)
	rand.NewChaCha8([32]byte{1}).Read(data[1<<20 : 9<<20])
	if err := os.WriteFile(source, data, 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, "nbdcopy", "--connections=4", source, uri(s, "v"))
	run(t, "nbdcopy", uri(s, "v"), back)
	if got, err := os.ReadFile(back); err != nil || !bytes.Equal(got, data) {
		t.Errorf("the copy differs from its source (%v)", err)
	}
	run(t, "qemu-img", "compare", "-f", "raw", "-F", "raw", source, uri(s, "v"))
	qcow := filepath.Join(dir, "image.qcow2")
	run(t, "qemu-img", "convert", "-f", "raw", "-O", "qcow2", uri(s, "v"), qcow)
	run(t, "qemu-img", "convert", "-n", "-f", "qcow2", "-O", "raw", qcow, uri(s, "v"))
	run(t, "qemu-img", "compare", "-f", "qcow2", "-F", "raw", qcow, uri(s, "v"))
	if out := run(t, "qemu-img", "info", "-f", "raw", uri(s, "v")); !strings.Contains(out, "32 MiB") {
		t.Errorf("qemu-img info = %s", out)
	}
}

func TestQemuIoWritesPatternsAndReadsThemBack(t *testing.T) {
	s := serve(t, nbd.Config{}, nbd.Export{Name: "v", Queue: newMemory(t, foreignSize)})
	out := run(t, "qemu-io", "-f", "raw", "-c", "write -P 0xa5 4k 1M", "-c", "write -f -P 0x5a 3 509", "-c", "flush",
		"-c", "discard 512k 64k", "-c", "write -z -u 2M 1M", "-c", "write -z 3M 1M", "-c", "read -P 0xa5 4k 100k",
		"-c", "read -P 0x5a 3 509", "-c", "read -P 0 2M 2M", "-c", "map", uri(s, "v"))
	if strings.Contains(out, "failed") || strings.Contains(out, "error") {
		t.Errorf("qemu-io = %s", out)
	}
}

func TestFioVerifiesItsOwnWrites(t *testing.T) {
	s := serve(t, nbd.Config{}, fileExport(t, "v", foreignSize))
	fioWrites(t, "--name=v", "--ioengine=nbd", "--uri="+uri(s, "v"), "--rw=randwrite", "--bsrange=4k-128k", "--iodepth=32",
		"--size=32m", "--verify=crc32c", "--do_verify=1", "--verify_fatal=1", "--fsync=64")
}

// processorSeconds is what this process, which is the server, has used.
func processorSeconds(t testing.TB) float64 {
	t.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}

func BenchmarkFioRandomWrites(b *testing.B) {
	for _, depth := range []int{1, 8, 32} {
		b.Run(strconv.Itoa(depth), func(b *testing.B) {
			s := serve(b, nbd.Config{}, nbd.Export{Name: "v", Queue: newMemory(b, 256<<20)})
			for b.Loop() {
				before := processorSeconds(b)
				iops := fioWrites(b, "--name=w", "--ioengine=nbd", "--uri="+uri(s, "v"), "--rw=randwrite", "--bs=4k",
					"--iodepth="+strconv.Itoa(depth), "--size=256m", "--time_based", "--runtime=5")
				b.ReportMetric(iops, "writes/s")
				b.ReportMetric((processorSeconds(b)-before)/(5*iops)*1e5, "cpu-s/100k")
			}
		})
	}
}

func TestLibnbdFindsNothingWrong(t *testing.T) {
	m := newMemory(t, foreignSize)
	s := serve(t, nbd.Config{}, nbd.Export{Name: "v", Queue: m}, nbd.Export{Name: "ro", Queue: newMemory(t, 1<<20), ReadOnly: true})
	const python = "/usr/bin/python3" // the distribution's own: its binding fits no other
	if err := exec.Command(python, "-c", "import nbd").Run(); err != nil {
		if os.Getenv("BEFFROI_REQUIRE_TOOLS") == "1" {
			t.Fatalf("libnbd's Python binding is required: %v", err)
		}
		t.Skip("libnbd's Python binding is not installed")
	}
	if out := run(t, python, "testdata/conformance.py", s.socket, "v", "ro"); out != "ok\n" {
		t.Errorf("conformance = %s", out)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fua < 6 || m.flushes < 2 {
		t.Errorf("the queue saw %d FUA and %d flushes; want at least 6 and 2", m.fua, m.flushes)
	}
}
