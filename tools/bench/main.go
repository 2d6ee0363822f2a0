// Command bench measures our store beside what exists: 4 KiB random writes, every
// acknowledgment durable, at 1, 8 and 32 outstanding, in one interleaved run; and the
// image: how long it takes to build it again after a changed line, a pair from power-on,
// and what an idle node's memory holds. It runs in the folder of our source.
//
//	bench [--runs 5] [--seconds 3] [--dir out/bench] [--only store|image]
//
// Each run measures every contestant once, so that a noisy minute hits all of
// them. It prints medians, spreads and ratios, and the processor seconds of all
// daemons for 100,000 writes. Exit code 1 means that a must was missed or could
// not be measured. It refuses a folder in memory.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	volumeBytes = 512 << 20
	storeBytes  = 3 << 30 // a run at full speed must not fill it: there is no cleaner yet
)

var depths = []int{1, 8, 32}

// musts are ratios of throughput at 32 outstanding that must be reached.
var musts = []struct {
	ours, other string
	ratio       float64
}{
	{"mirrored", "qemu-nbd", 1.2},
	{"mirrored", "quorum", 8},
}

type bench struct {
	dir, self string
	addr      [2]string
	seconds   int
	log       *os.File
}

// sample is one measurement.
type sample struct {
	iops float64
	cpu  float64 // processor seconds of the daemons for 100,000 writes
}

type key struct {
	name  string
	depth int
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	if len(os.Args) > 1 && os.Args[1] == "daemon" {
		err = daemon(ctx, os.Args[2:])
	} else {
		err = run(ctx)
	}
	if err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	runs := flag.Int("runs", 5, "runs of every contestant")
	seconds := flag.Int("seconds", 3, "of each measurement")
	dir := flag.String("dir", "out/bench", "folder on the disk to measure")
	only := flag.String("only", "", "a part: store or image; empty: both")
	image := flag.String("image", "out/image/beffroi.img", "the image to boot")
	cache := flag.String("cache", "out/cache", "what earlier builds of the image have kept")
	flag.Parse()
	var store, pair error
	switch *only {
	case "", "store", "image":
	default:
		return fmt.Errorf("part %q: use store or image", *only)
	}
	if *only != "image" {
		store = measureStore(ctx, *dir, *runs, *seconds)
	}
	if *only != "store" {
		pair = measureImage(ctx, *image, *cache)
	}
	return errors.Join(store, pair)
}

func measureStore(ctx context.Context, dir string, runs, seconds int) error {
	b, err := newBench(dir, seconds)
	if err != nil {
		return err
	}
	defer b.log.Close()
	samples := map[key][]sample{}
	for i := range runs {
		for _, c := range contestants {
			for _, depth := range depths {
				s, err := b.measure(ctx, c, depth)
				if err != nil {
					return fmt.Errorf("run %d, %s at %d: %w (daemons wrote to %s)", i+1, c.name, depth, err, b.log.Name())
				}
				samples[key{c.name, depth}] = append(samples[key{c.name, depth}], s)
			}
		}
		fmt.Fprintf(os.Stderr, "run %d of %d done\n", i+1, runs)
	}
	return report(samples, runs, seconds)
}

func newBench(dir string, seconds int) (*bench, error) {
	full, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(full, 0o700); err != nil {
		return nil, err
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(full, &fs); err != nil {
		return nil, fmt.Errorf("%s: %w", full, err)
	}
	if fs.Type == unix.TMPFS_MAGIC || fs.Type == unix.RAMFS_MAGIC {
		return nil, fmt.Errorf("%s lies in memory: nothing there is durable", full)
	}
	if len(full) > 90 {
		return nil, errors.New("the folder's path is too long for sockets")
	}
	b := &bench{dir: full, seconds: seconds}
	if b.self, err = os.Executable(); err != nil {
		return nil, err
	}
	for i := range b.addr {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		b.addr[i] = l.Addr().String()
		_ = l.Close()
	}
	b.log, err = os.Create(filepath.Join(full, "daemons.log"))
	return b, err
}

func (b *bench) measure(ctx context.Context, c contestant, depth int) (sample, error) {
	if err := b.prepare(c); err != nil {
		return sample{}, err
	}
	stop, pids, err := b.launch(ctx, c)
	if err != nil {
		return sample{}, err
	}
	defer stop()
	args := []string{
		"--name=w", "--rw=randwrite", "--bs=4k", "--size=" + strconv.FormatInt(volumeBytes, 10), "--time_based",
		"--runtime=" + strconv.Itoa(b.seconds), "--output-format=json", "--randrepeat=0",
	}
	if c.daemons == nil {
		args = append(args, "--filename="+b.path("raw"), "--ioengine=psync", "--direct=1", "--fdatasync=1",
			"--numjobs="+strconv.Itoa(depth), "--thread", "--group_reporting")
	} else {
		// The nbd engine of this fio flushes with fsync, and knows no fdatasync. At
		// more than one outstanding it does not wait for the write before it sends
		// the flush, so the servers themselves must make each write durable.
		args = append(args, "--ioengine=nbd", "--uri=nbd+unix:///v?socket="+b.path("front"), "--fsync=1", "--iodepth="+strconv.Itoa(depth))
	}
	before := processorSeconds(pids)
	cmd := exec.CommandContext(ctx, "fio", args...)
	cmd.Dir = b.dir
	out, err := cmd.Output()
	if err != nil {
		return sample{}, fmt.Errorf("fio: %w", err)
	}
	return parse(out, processorSeconds(pids)-before)
}

// parse reads fio's report.
func parse(out []byte, cpu float64) (sample, error) {
	i := bytes.IndexByte(out, '{')
	if i < 0 {
		return sample{}, errors.New("fio printed no report")
	}
	var r struct {
		Jobs []struct {
			Error int `json:"error"`
			Write struct {
				IOPS  float64 `json:"iops"`
				Total float64 `json:"total_ios"`
			} `json:"write"`
		} `json:"jobs"`
	}
	if err := json.Unmarshal(out[i:], &r); err != nil {
		return sample{}, fmt.Errorf("fio's report: %w", err)
	}
	if len(r.Jobs) != 1 || r.Jobs[0].Error != 0 || r.Jobs[0].Write.Total == 0 {
		return sample{}, fmt.Errorf("fio failed: %.200s", out[i:])
	}
	w := r.Jobs[0].Write
	return sample{iops: w.IOPS, cpu: cpu / w.Total * 100_000}, nil
}

func median(s []sample, f func(sample) float64) (mid, lo, hi float64) {
	v := make([]float64, len(s))
	for i := range s {
		v[i] = f(s[i])
	}
	slices.Sort(v)
	return v[len(v)/2], v[0], v[len(v)-1]
}

func report(samples map[key][]sample, runs, seconds int) error {
	iops := func(s sample) float64 { return s.iops }
	fmt.Printf("4 KiB random writes, every acknowledgment durable; writes a second, median of %d interleaved runs of %d s (lowest to highest)\n", runs, seconds)
	fmt.Printf("machine: %d processors, %s; started %s\n\n", runtime.NumCPU(), runtime.GOARCH, time.Now().Format("2006-01-02 15:04"))
	fmt.Printf("%-10s", "")
	for _, d := range depths {
		fmt.Printf(" %26s", fmt.Sprintf("%d outstanding", d))
	}
	fmt.Printf("   CPU s per 100,000 at %d\n", depths[len(depths)-1])
	for _, c := range contestants {
		fmt.Printf("%-10s", c.name)
		for _, d := range depths {
			mid, lo, hi := median(samples[key{c.name, d}], iops)
			fmt.Printf(" %26s", fmt.Sprintf("%.0f (%.0f-%.0f)", mid, lo, hi))
		}
		cpu, _, _ := median(samples[key{c.name, depths[len(depths)-1]}], func(s sample) float64 { return s.cpu })
		fmt.Printf("   %.1f  %s\n", cpu, c.what)
	}
	fmt.Println()
	missed := 0
	for _, m := range musts {
		ours, _, _ := median(samples[key{m.ours, 32}], iops)
		other, _, _ := median(samples[key{m.other, 32}], iops)
		verdict := "reached"
		if ours < m.ratio*other {
			verdict = "MISSED"
			missed++
		}
		fmt.Printf("%s / %s at 32: %.2f, must be %.1f: %s\n", m.ours, m.other, ours/other, m.ratio, verdict)
	}
	ours, _, _ := median(samples[key{"mirrored", 32}], iops)
	bare, _, _ := median(samples[key{"bare", 32}], iops)
	fmt.Printf("mirrored / bare at 32: %.2f, aim 1.0\n", ours/bare)
	volatile, _, _ := median(samples[key{"write-back", 32}], iops)
	fmt.Printf("mirrored / write-back at 32: %.2f\n", ours/volatile)
	if missed > 0 {
		return errors.New("a must was missed")
	}
	return nil
}
