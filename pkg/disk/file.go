package disk

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// stopBound is how long a stop waits for a request that is with the kernel: a
// disk that answers later than this is beyond what waiting can mend.
const stopBound = 30 * time.Second

// File is a Device over a file or a block device, opened with O_DIRECT where
// the file system allows it. It holds an exclusive lock (flock) while open.
type File struct {
	f      *os.File
	path   string
	size   int64
	direct bool

	mu     sync.Mutex // guards failed
	failed error
}

// ErrLocked is returned by OpenFile when another process holds the device.
var ErrLocked = errors.New("device is in use by another process")

// OpenFile opens path for reading and writing and locks it. It reports the
// holder's process in the error when the lock is taken.
func OpenFile(path string) (*File, error) {
	direct := true
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_DIRECT|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.EINVAL) { // tmpfs and some others
		direct = false
		f, err = os.OpenFile(path, os.O_RDWR|unix.O_CLOEXEC, 0)
	}
	if err != nil {
		return nil, fmt.Errorf("open device: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("%s: %w%s", path, ErrLocked, holder(path))
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	size, err := f.Seek(0, 2)
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("size of %s: %w", path, err)
	}
	return &File{f: f, path: path, size: size, direct: direct}, nil
}

// CreateFile makes a file of size bytes that reads as zeros, with its space
// reserved, so that later writes do not find the disk full. It fails if the file
// exists.
func CreateFile(path string, size int64) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("create device: %w", err)
	}
	if err := unix.Fallocate(int(f.Fd()), 0, 0, size); err != nil {
		_ = f.Close()
		_ = os.Remove(path)
		return fmt.Errorf("allocate %d bytes for %s: %w", size, path, err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("create device: %w", err)
	}
	return nil
}

func (d *File) check() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.failed
}

func (d *File) fail(err error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.failed == nil {
		d.failed = fmt.Errorf("%s: %w: %w", d.path, ErrFailed, err)
	}
	return d.failed
}

func aligned(p []byte, off int64) bool {
	return off%SectorSize == 0 && len(p)%SectorSize == 0 && len(p) > 0 &&
		uintptr(unsafe.Pointer(unsafe.SliceData(p)))%BlockSize == 0
}

// ReadAt reads len(p) bytes at off. Unaligned reads go through a copy.
func (d *File) ReadAt(p []byte, off int64) (int, error) {
	if err := d.check(); err != nil {
		return 0, err
	}
	if !d.direct || aligned(p, off) {
		return d.f.ReadAt(p, off)
	}
	start := off &^ (SectorSize - 1)
	buf := Aligned(roundUp(off+int64(len(p)), SectorSize) - start)
	n, err := d.f.ReadAt(buf, start)
	n = max(0, n-int(off-start))
	n = copy(p, buf[off-start:][:min(n, len(p))])
	if n == len(p) {
		err = nil
	}
	return n, err
}

// WriteAt writes p at off. The range must be aligned to SectorSize; the memory
// need not be. A failed write fails the device.
func (d *File) WriteAt(p []byte, off int64) (int, error) {
	if err := d.check(); err != nil {
		return 0, err
	}
	if err := CheckRange(off, int64(len(p)), d.size); err != nil {
		return 0, err
	}
	if d.direct && !aligned(p, off) {
		if off%SectorSize != 0 || len(p)%SectorSize != 0 {
			return 0, fmt.Errorf("write of %d bytes at %d: not aligned to sectors", len(p), off)
		}
		buf := Aligned(int64(len(p)))
		copy(buf, p)
		p = buf
	}
	n, err := d.f.WriteAt(p, off)
	if err != nil {
		return n, d.fail(err)
	}
	return n, nil
}

// Sync makes all finished writes durable. A failed sync fails the device.
func (d *File) Sync() error {
	if err := d.check(); err != nil {
		return err
	}
	if err := unix.Fdatasync(int(d.f.Fd())); err != nil {
		return d.fail(err)
	}
	return nil
}

// Size is the length in bytes found when the file was opened.
func (d *File) Size() int64 { return d.size }

// Close releases the lock and the file.
func (d *File) Close() error { return d.f.Close() }

func roundUp(n, unit int64) int64 { return (n + unit - 1) / unit * unit }

// Aligned allocates n bytes that begin on a BlockSize boundary, as O_DIRECT
// wants them.
func Aligned(n int64) []byte {
	buf := make([]byte, n+BlockSize)
	skip := BlockSize - int(uintptr(unsafe.Pointer(unsafe.SliceData(buf)))%BlockSize)
	return buf[skip : skip+int(n) : skip+int(n)]
}

// WriteDurable writes p at off and makes it durable, in one step. The rules are
// those of WriteAt. It does not cover earlier writes.
func (d *File) WriteDurable(p []byte, off int64) error {
	if err := d.check(); err != nil {
		return err
	}
	if err := CheckRange(off, int64(len(p)), d.size); err != nil {
		return err
	}
	if d.direct && !aligned(p, off) {
		return fmt.Errorf("durable write of %d bytes at %d: not aligned", len(p), off)
	}
	for len(p) > 0 {
		n, err := unix.Pwritev2(int(d.f.Fd()), [][]byte{p}, off, unix.RWF_DSYNC)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return d.fail(err)
		}
		p, off = p[n:], off+int64(n)
	}
	return nil
}
