package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// contestant is one way to store blocks durably.
type contestant struct {
	name    string
	what    string
	daemons func(b *bench) []*exec.Cmd // nil: fio writes to the file itself
}

var contestants = []contestant{
	{"bare", "the bare file, fdatasync after each write", nil},
	{"qemu-nbd", "qemu-nbd on that file, every write durable when acknowledged; no mirror", func(b *bench) []*exec.Cmd {
		return []*exec.Cmd{b.qemuNBD("raw", "front", "directsync")}
	}},
	{"write-back", "the same with a volatile cache: a flush is sent after each write, but does not wait for it; not comparable", func(b *bench) []*exec.Cmd {
		return []*exec.Cmd{b.qemuNBD("raw", "front", "none")}
	}},
	{"quorum", "QEMU's quorum driver over two qemu-nbd, written through: a mirror that exists", func(b *bench) []*exec.Cmd {
		return []*exec.Cmd{b.qemuNBD("raw", "q1", "none"), b.qemuNBD("raw2", "q2", "none"), b.quorum()}
	}},
	{"solo", "our store, one copy", func(b *bench) []*exec.Cmd { return []*exec.Cmd{b.ours("1", "s1", "front", "", "")} }},
	{"mirrored", "our store, mirrored: both replicas on the one disk, TLS between them", func(b *bench) []*exec.Cmd {
		return []*exec.Cmd{b.ours("1", "s1", "front", b.addr[0], b.addr[1]), b.ours("2", "s2", "twin", b.addr[1], b.addr[0])}
	}},
}

func (b *bench) path(name string) string { return filepath.Join(b.dir, name) }

func (b *bench) qemuNBD(file, sock, cache string) *exec.Cmd {
	return exec.Command("qemu-nbd", "-f", "raw", "-x", "v", "-t", "-k", b.path(sock), "--cache="+cache, "--aio=io_uring", b.path(file))
}

func (b *bench) quorum() *exec.Cmd {
	child := func(node, sock string) string {
		return fmt.Sprintf("driver=nbd,node-name=%s,server.type=unix,server.path=%s,export=v", node, b.path(sock))
	}
	return exec.Command("qemu-storage-daemon", "--blockdev", child("n0", "q1"), "--blockdev", child("n1", "q2"),
		"--blockdev", "driver=quorum,node-name=q,vote-threshold=2,children.0=n0,children.1=n1",
		"--nbd-server", "addr.type=unix,addr.path="+b.path("front"), "--export", "type=nbd,id=e,node-name=q,name=v,writable=on,writethrough=on")
}

func (b *bench) ours(self, store, sock, listen, peer string) *exec.Cmd {
	args := []string{"daemon", "-self", self, "-store", b.path(store), "-sock", b.path(sock), "-size", strconv.FormatInt(volumeBytes, 10)}
	if peer != "" {
		args = append(args, "-listen", listen, "-peer", peer)
	}
	return exec.Command(b.self, args...)
}

// prepare lays out fresh files, all of their blocks written, so that nobody pays
// for allocation.
func (b *bench) prepare(c contestant) error {
	files := map[string]int64{}
	switch c.name {
	case "bare", "qemu-nbd", "write-back":
		files["raw"] = volumeBytes
	case "quorum":
		files["raw"], files["raw2"] = volumeBytes, volumeBytes
	case "solo":
		files["s1"] = storeBytes
	case "mirrored":
		files["s1"], files["s2"] = storeBytes, storeBytes
	}
	for name, size := range files {
		if err := writeZeros(b.path(name), size); err != nil {
			return err
		}
	}
	return nil
}

// writeZeros writes a file whole; an old one of the same size whose blocks are
// allocated is overwritten in place.
func writeZeros(path string, size int64) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	buf := make([]byte, 4<<20)
	for off := int64(0); off < size; off += int64(len(buf)) {
		if _, err := f.WriteAt(buf[:min(int64(len(buf)), size-off)], off); err != nil {
			return fmt.Errorf("lay out %s: %w", path, err)
		}
	}
	return f.Sync()
}

// launch starts the daemons one after the other and waits for their sockets.
func (b *bench) launch(ctx context.Context, c contestant) (stop func(), pids []int, err error) {
	if c.daemons == nil {
		return func() {}, nil, nil
	}
	cmds := c.daemons(b)
	var started []*exec.Cmd
	stop = func() {
		for _, cmd := range started {
			_ = cmd.Process.Signal(syscall.SIGTERM)
			_ = cmd.Wait() // its end is all that matters
		}
		for _, s := range []string{"front", "twin", "q1", "q2"} {
			_ = os.Remove(b.path(s))
		}
	}
	for i, cmd := range cmds {
		cmd.Stderr = b.log
		if err := cmd.Start(); err != nil {
			stop()
			return nil, nil, fmt.Errorf("start %s: %w", c.name, err)
		}
		started = append(started, cmd)
		pids = append(pids, cmd.Process.Pid)
		sock := map[string][]string{"qemu-nbd": {"front"}, "write-back": {"front"}, "quorum": {"q1", "q2", "front"}, "solo": {"front"}, "mirrored": {"front", "twin"}}[c.name][i]
		if err := waitSocket(ctx, b.path(sock)); err != nil {
			stop()
			return nil, nil, fmt.Errorf("%s: %w", c.name, err)
		}
	}
	return stop, pids, nil
}

func waitSocket(ctx context.Context, path string) error {
	for limit := time.Now().Add(10 * time.Second); time.Now().Before(limit); {
		if c, err := net.Dial("unix", path); err == nil {
			_ = c.Close()
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
	return fmt.Errorf("no answer on %s", filepath.Base(path))
}

// processorSeconds sums up what processes have used so far.
func processorSeconds(pids []int) float64 {
	total := 0.0
	for _, pid := range pids {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue
		}
		f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+2:]))
		for _, i := range []int{11, 12} { // utime, stime
			v, _ := strconv.ParseFloat(f[i], 64)
			total += v / 100
		}
	}
	return total
}
