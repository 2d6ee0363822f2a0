package store

import (
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/util/vfsutil"
	"github.com/ncruces/go-sqlite3/vfs"

	"beffroi.dev/pkg/disk"
)

// The names under which SQLite knows the two files of a volume.
const (
	databaseName = "citizen.db"
	logName      = databaseName + "-wal"
)

// volumeVFS shows one volume to SQLite as a folder with a database and its log.
type volumeVFS struct {
	v        *volume
	log      *logFile
	locks    locks
	indexAt  string // path of the WAL index, in the private folder
	database databaseFile
}

// ioError tells SQLite that the volume is full, or which operation failed.
func ioError[T ~uint8 | ~uint16](err error, code T) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, disk.ErrNoSpace):
		return vfs.SystemError(err, sqlite3.FULL)
	default:
		return vfs.SystemError(err, code)
	}
}

func (s *volumeVFS) Open(name string, flags vfs.OpenFlag) (vfs.File, vfs.OpenFlag, error) {
	switch {
	case flags&vfs.OPEN_MAIN_DB != 0 && name == databaseName:
		return &handle{fs: s, shm: vfs.NewSharedMemory(s.indexAt, flags)}, flags, nil
	case flags&vfs.OPEN_WAL != 0 && name == logName:
		return &logHandle{log: s.log}, flags, nil
	case flags&(vfs.OPEN_TEMP_DB|vfs.OPEN_TRANSIENT_DB|vfs.OPEN_TEMP_JOURNAL|vfs.OPEN_SUBJOURNAL|vfs.OPEN_MAIN_JOURNAL) != 0:
		// A rollback journal exists only while Format makes the database, which a
		// crash discards whole; so it, too, may live in memory.
		return &vfsutil.SliceFile{}, flags | vfs.OPEN_MEMORY, nil
	}
	return nil, flags, vfs.SystemError(fmt.Errorf("no file %q on a citizen volume", name), sqlite3.CANTOPEN)
}

func (s *volumeVFS) Delete(name string, _ bool) error {
	switch {
	case name == logName && s.log.length() > 0:
		return s.log.truncate(0)
	case name == databaseName+"-journal": // in memory, see Open
		return nil
	}
	return sqlite3.IOERR_DELETE_NOENT
}

func (s *volumeVFS) Access(name string, _ vfs.AccessFlag) (bool, error) {
	return name == databaseName || name == logName && s.log.length() > 0, nil
}

func (s *volumeVFS) FullPathname(name string) (string, error) { return name, nil }

// logHandle is one connection's view of the log.
type logHandle struct{ log *logFile }

func (h *logHandle) Close() error                             { return nil }
func (h *logHandle) ReadAt(p []byte, off int64) (int, error)  { return h.log.readAt(p, off) }
func (h *logHandle) WriteAt(p []byte, off int64) (int, error) { return h.log.writeAt(p, off) }
func (h *logHandle) Truncate(size int64) error                { return h.log.truncate(size) }
func (h *logHandle) Sync(vfs.SyncFlag) error                  { return h.log.sync() }
func (h *logHandle) Size() (int64, error)                     { return h.log.length(), nil }
func (h *logHandle) Lock(vfs.LockLevel) error                 { return nil }
func (h *logHandle) Unlock(vfs.LockLevel) error               { return nil }
func (h *logHandle) CheckReservedLock() (bool, error)         { return false, nil }
func (h *logHandle) SectorSize() int                          { return disk.BlockSize }
func (h *logHandle) DeviceCharacteristics() vfs.DeviceCharacteristic {
	return characteristics
}

// characteristics: a device keeps or loses each 512-byte sector of a write, and
// we rewrite untouched bytes with what they held; so bytes outside a write
// survive it. Nothing larger than a sector is promised to be atomic.
const characteristics = vfs.IOCAP_POWERSAFE_OVERWRITE | vfs.IOCAP_ATOMIC512 | vfs.IOCAP_SUBPAGE_READ | vfs.IOCAP_UNDELETABLE_WHEN_OPEN

// databaseFile is the run of the pool that holds the database. SQLite writes it
// a page, which is a block, at a time; the rare partial write is merged with
// its block under the lock, and partial reads wait for it.
type databaseFile struct {
	v       *volume
	partial sync.RWMutex // held by writers of part of a block, shared by readers of one
}

func whole(n int, off int64) bool { return off%disk.BlockSize == 0 && n%disk.BlockSize == 0 }

func (f *databaseFile) readAt(p []byte, off int64) (int, error) {
	short := false
	size := f.v.databaseSize()
	if off >= size {
		return 0, io.EOF
	}
	if int64(len(p)) > size-off {
		p, short = p[:size-off], true
	}
	if !whole(len(p), off) {
		f.partial.RLock()
		defer f.partial.RUnlock()
	}
	if err := f.v.read(p, f.v.super.PoolOffset+off); err != nil { // PoolOffset never changes
		return 0, ioError(err, sqlite3.IOERR_READ)
	}
	if short {
		return len(p), io.EOF
	}
	return len(p), nil
}

func (f *databaseFile) writeAt(p []byte, off int64) (int, error) {
	end := off + int64(len(p))
	if f.v.space.promise(end) < end {
		return 0, ioError(disk.ErrNoSpace, sqlite3.FULL)
	}
	buf, at := p, off
	if !whole(len(p), off) {
		f.partial.Lock()
		defer f.partial.Unlock()
		at = off / disk.BlockSize * disk.BlockSize
		buf = disk.Aligned(blocks(end) - at)
		if err := f.v.read(buf, f.v.super.PoolOffset+at); err != nil {
			return 0, ioError(err, sqlite3.IOERR_WRITE)
		}
		copy(buf[off-at:], p)
	}
	if err := f.v.write(buf, f.v.super.PoolOffset+at); err != nil {
		return 0, ioError(err, sqlite3.IOERR_WRITE)
	}
	f.v.setSizes(func(s *superblock) { s.Database = max(s.Database, blocks(end)) })
	return len(p), nil
}

// handle is one connection's view of the database file.
type handle struct {
	fs    *volumeVFS
	level vfs.LockLevel
	shm   vfs.SharedMemory
}

func (h *handle) Close() error {
	err := h.Unlock(vfs.LOCK_NONE)
	if h.shm != nil {
		err = errors.Join(err, h.shm.Close())
	}
	return err
}

func (h *handle) ReadAt(p []byte, off int64) (int, error)  { return h.fs.database.readAt(p, off) }
func (h *handle) WriteAt(p []byte, off int64) (int, error) { return h.fs.database.writeAt(p, off) }
func (h *handle) Truncate(int64) error                     { return nil } // the run never shrinks; SQLite's header tells the pages in use
func (h *handle) Sync(vfs.SyncFlag) error                  { return ioError(h.fs.v.sync(), sqlite3.IOERR_FSYNC) }
func (h *handle) Size() (int64, error)                     { return h.fs.v.databaseSize(), nil }
func (h *handle) SectorSize() int                          { return disk.BlockSize }
func (h *handle) SharedMemory() vfs.SharedMemory           { return h.shm }
func (h *handle) DeviceCharacteristics() vfs.DeviceCharacteristic {
	return characteristics
}

func (h *handle) Lock(level vfs.LockLevel) error   { return h.fs.locks.raise(&h.level, level) }
func (h *handle) Unlock(level vfs.LockLevel) error { h.fs.locks.lower(&h.level, level); return nil }
func (h *handle) CheckReservedLock() (bool, error) { return h.fs.locks.reserved(), nil }
func (h *handle) LockState() vfs.LockLevel         { return h.level }

var (
	_ vfs.FileSharedMemory = (*handle)(nil)
	_ vfs.FileLockState    = (*handle)(nil)
)
