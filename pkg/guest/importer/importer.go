package importer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"beffroi.dev/pkg/disk"
)

const (
	chunk = 1 << 20 // bytes of one write
	depth = 8       // writes in flight: enough to keep a mirror busy
)

// Target is the volume that is filled. It must be at least as large as the
// image's virtual size.
type Target struct {
	Queue disk.Queue
	URI   string // the same volume as an NBD URI, for qcow2
	Zero  bool   // it is known to hold only zeros
}

// Progress is told how far a copy is, in bytes of the virtual size. Its calls
// never overlap.
type Progress func(done, total int64)

// Config says how to import.
type Config struct {
	QemuImg string // the program; "" means qemu-img
}

// Copy fills the target from the image, which Inspect has approved, and flushes
// it. What the image does not cover is left alone. A cancelled copy leaves the
// target partly filled.
func Copy(ctx context.Context, cfg Config, path string, image Image, target Target, progress Progress) error {
	if size := target.Queue.Size(); size < image.VirtualSize {
		return fmt.Errorf("import: the volume has %d bytes, the image needs %d", size, image.VirtualSize)
	}
	if progress == nil {
		progress = func(int64, int64) {}
	}
	var err error
	switch image.Format {
	case Raw:
		err = copyRaw(ctx, path, image, target, progress)
	case Qcow2:
		err = convert(ctx, cfg, path, image, target, progress)
	default:
		err = fmt.Errorf("%w: format %q", ErrImage, image.Format)
	}
	if err == nil {
		err = flush(target.Queue)
	}
	if err != nil {
		return fmt.Errorf("import %s: %w", path, err)
	}
	return nil
}

func flush(q disk.Queue) error {
	done := make(chan error, 1)
	q.Submit([]*disk.Request{{Op: disk.Flush, Done: func(r *disk.Request) { done <- r.Err }}})
	return <-done
}

// pipe submits writes and keeps at most depth of them in flight.
type pipe struct {
	queue disk.Queue
	slots chan []byte // free buffers

	mu  sync.Mutex // guards err
	err error
}

func newPipe(q disk.Queue) *pipe {
	p := &pipe{queue: q, slots: make(chan []byte, depth)}
	for range depth {
		p.slots <- disk.Aligned(chunk)
	}
	return p
}

func (p *pipe) failed() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// put submits r and gives buf back when it is done.
func (p *pipe) put(r *disk.Request, buf []byte) {
	r.Done = func(r *disk.Request) {
		if r.Err != nil {
			p.mu.Lock()
			p.err = errors.Join(p.err, r.Err)
			p.mu.Unlock()
		}
		p.slots <- buf
	}
	p.queue.Submit([]*disk.Request{r})
}

// wait returns when nothing is in flight.
func (p *pipe) wait() error {
	for range depth {
		<-p.slots
	}
	return p.failed()
}

// copyRaw copies by pieces; holes of the file and pieces of zeros are not
// written to a target that is zero already.
func copyRaw(ctx context.Context, path string, image Image, target Target, progress Progress) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	p := newPipe(target.Queue)
	for off := int64(0); off < image.VirtualSize && ctx.Err() == nil && p.failed() == nil; {
		n := min(chunk, image.VirtualSize-off)
		if hole := holeAt(f, off, image.VirtualSize); hole > 0 {
			n = hole
		} else {
			buf := <-p.slots
			if _, err := f.ReadAt(buf[:n], off); err != nil {
				p.slots <- buf
				return errors.Join(fmt.Errorf("read image: %w", err), p.wait())
			}
			if !bytes.Equal(buf[:n], zeros[:n]) {
				p.put(&disk.Request{Op: disk.Write, Off: off, Len: n, Data: buf[:n]}, buf)
				off += n
				progress(off, image.VirtualSize)
				continue
			}
			p.slots <- buf
		}
		if !target.Zero {
			p.put(&disk.Request{Op: disk.Zero, Off: off, Len: n}, <-p.slots)
		}
		off += n
		progress(off, image.VirtualSize)
	}
	return errors.Join(ctx.Err(), p.wait())
}

var zeros [chunk]byte

// holeAt returns the length of the hole of a sparse file at off, whole sectors,
// 0 if there is data or the file system cannot tell.
func holeAt(f *os.File, off, size int64) int64 {
	data, err := unix.Seek(int(f.Fd()), off, unix.SEEK_DATA)
	if errors.Is(err, unix.ENXIO) {
		data = size // nothing but a hole up to the end
	} else if err != nil {
		return 0
	}
	// One zero request covers at most 1 GiB: lengths have 32 bits on the wire.
	return min(data-off, 1<<30) &^ (sector - 1)
}

// convert lets qemu-img read the qcow2, with the format stated: it must never
// guess the format of a stranger's file.
func convert(ctx context.Context, cfg Config, path string, image Image, target Target, progress Progress) error {
	if target.URI == "" {
		return errors.New("a qcow2 image needs the volume as an NBD URI")
	}
	program := cfg.QemuImg
	if program == "" {
		program = "qemu-img"
	}
	args := []string{"convert", "-p", "-n", "-f", "qcow2", "-O", "raw"}
	if target.Zero {
		args = append(args, "--target-is-zero")
	}
	cmd := exec.CommandContext(ctx, program, append(args, "--", path, target.URI)...)
	cmd.WaitDelay = 5 * time.Second
	words := &tail{}
	cmd.Stderr = words
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	watch(out, image.VirtualSize, progress)
	if err := cmd.Wait(); err != nil {
		return errors.Join(ctx.Err(), fmt.Errorf("qemu-img: %w: %s", err, words))
	}
	progress(image.VirtualSize, image.VirtualSize)
	return nil
}

var percent = regexp.MustCompile(`\(([0-9.]+)/100%\)`)

// watch reads qemu-img's progress until it ends.
func watch(r io.Reader, total int64, progress Progress) {
	b := make([]byte, 4096)
	for {
		n, err := r.Read(b)
		if all := percent.FindAllSubmatch(b[:n], -1); len(all) > 0 {
			if v, err := strconv.ParseFloat(string(all[len(all)-1][1]), 64); err == nil && v <= 100 {
				progress(int64(v/100*float64(total)), total)
			}
		}
		if err != nil {
			return
		}
	}
}

// tail keeps the first words of a program's complaint.
type tail struct{ b []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.b = append(t.b, p[:min(len(p), 1000-len(t.b))]...)
	return len(p), nil
}

func (t *tail) String() string { return strings.TrimSpace(string(t.b)) }
