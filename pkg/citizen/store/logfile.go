package store

import (
	"io"
	"sync"

	"github.com/ncruces/go-sqlite3"

	"beffroi.dev/pkg/disk"
)

const (
	// logStep rounds the recorded size of the log, so that the superblock is
	// written once in 64 blocks and not at every commit.
	logStep = 256 << 10
	// flushBound is how much of the log may wait in memory for a sync; a larger
	// transaction is written out as it goes.
	flushBound = 1 << 20
)

// logFile is SQLite's write-ahead log. A copy lies in memory, bounded by the
// capacity of the log: frames are 24 bytes longer than a page, so nearly every
// write shares a block with another, and the copy is what makes rewriting part
// of a block safe and cheap. Blocks go to the device whole, in runs, at a sync.
type logFile struct {
	v        *volume
	off, cap int64

	mu    sync.RWMutex // guards all below
	image []byte       // as long as the log, rounded up to blocks
	size  int64
	dirty map[int64]struct{} // block numbers
}

func openLog(v *volume) (*logFile, error) {
	s := v.super
	f := &logFile{v: v, off: s.LogOffset, cap: s.LogCap, size: s.LogSize, dirty: map[int64]struct{}{}}
	f.image = make([]byte, blocks(f.size))
	if f.size > 0 {
		if err := v.read(f.image, f.off); err != nil {
			return nil, err
		}
	}
	return f, nil
}

func (f *logFile) readAt(p []byte, off int64) (int, error) {
	if err := f.v.check(); err != nil {
		return 0, ioError(err, sqlite3.IOERR_READ)
	}
	f.mu.RLock()
	defer f.mu.RUnlock()
	if off >= f.size {
		return 0, io.EOF
	}
	n := copy(p, f.image[off:f.size])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *logFile) writeAt(p []byte, off int64) (int, error) {
	if err := f.v.check(); err != nil {
		return 0, ioError(err, sqlite3.IOERR_WRITE)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	end := off + int64(len(p))
	if end > f.cap {
		return 0, ioError(disk.ErrNoSpace, sqlite3.FULL)
	}
	if grow := blocks(end) - int64(len(f.image)); grow > 0 {
		f.image = append(f.image, make([]byte, grow)...)
	}
	copy(f.image[off:], p)
	f.size = max(f.size, end)
	for b := off / disk.BlockSize; b*disk.BlockSize < end; b++ {
		f.dirty[b] = struct{}{}
	}
	if int64(len(f.dirty))*disk.BlockSize > flushBound {
		if err := f.flushLocked(); err != nil {
			return 0, ioError(err, sqlite3.IOERR_WRITE)
		}
	}
	return len(p), nil
}

// flushLocked writes the dirty blocks in ascending runs.
func (f *logFile) flushLocked() error {
	last := int64(len(f.image)) / disk.BlockSize
	for b := int64(0); b < last && len(f.dirty) > 0; b++ {
		if _, ok := f.dirty[b]; !ok {
			continue
		}
		end := b + 1
		for _, ok := f.dirty[end]; ok; _, ok = f.dirty[end] {
			end++
		}
		if err := f.v.write(f.image[b*disk.BlockSize:end*disk.BlockSize], f.off+b*disk.BlockSize); err != nil {
			return err
		}
		for i := b; i < end; i++ {
			delete(f.dirty, i)
		}
		b = end
	}
	return nil
}

// sync writes what waits and makes it durable. Readers wait for the writes, not
// for the sync.
func (f *logFile) sync() error {
	f.mu.Lock()
	err := f.flushLocked()
	if err == nil {
		f.recordLocked()
	}
	f.mu.Unlock()
	if err != nil {
		return ioError(err, sqlite3.IOERR_FSYNC)
	}
	return ioError(f.v.sync(), sqlite3.IOERR_FSYNC)
}

func (f *logFile) recordLocked() {
	size := min((f.size+logStep-1)/logStep*logStep, f.cap)
	f.v.setSizes(func(s *superblock) { s.LogSize = size })
}

func (f *logFile) truncate(size int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if size < f.size {
		f.size = size
		f.image = f.image[:blocks(size)]
		for b := range f.dirty {
			if b*disk.BlockSize >= int64(len(f.image)) {
				delete(f.dirty, b)
			}
		}
		f.recordLocked()
	}
	return nil
}

func (f *logFile) length() int64 {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.size
}
