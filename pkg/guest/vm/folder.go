package vm

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"beffroi.dev/pkg/guest/qemu"
)

// folder is a VM's state folder: the supervisor's own part, and that in which QEMU
// makes and changes files. They are one, unless QEMU is another user: what names a
// process to be killed must not be QEMU's to write.
type folder struct{ own, live string }

func openFolder(c Config) (folder, error) {
	f := folder{own: c.Dir, live: c.Dir}
	if err := os.MkdirAll(f.own, 0o700); err != nil {
		return f, fmt.Errorf("state folder: %w", err)
	}
	if c.Apart {
		f.live = filepath.Join(c.Dir, "live")
		if err := os.Chmod(f.own, 0o711); err != nil { // QEMU passes through
			return f, fmt.Errorf("state folder: %w", err)
		}
	}
	return f, nil
}

func (f folder) runFile() string   { return filepath.Join(f.own, "run.json") }
func (f folder) lock() string      { return filepath.Join(f.own, "run.lock") }
func (f folder) qemuLog() string   { return filepath.Join(f.own, "qemu.log") }
func (f folder) oldSerial() string { return filepath.Join(f.own, "serial.log.1") }
func (f folder) qmp() string       { return filepath.Join(f.live, "qmp.sock") }
func (f folder) serial() string    { return filepath.Join(f.live, "serial.sock") }
func (f folder) serialLog() string { return filepath.Join(f.live, "serial.log") }
func (f folder) vars() string      { return filepath.Join(f.live, "vars.fd") }

// give makes QEMU's part, for its user. What QEMU makes there gets the supervisor's
// group.
func (f folder) give(u User) error {
	err := os.Mkdir(f.live, 0o700)
	if err == nil {
		err = os.Chmod(f.live, 0o770|os.ModeSetgid)
	} else if errors.Is(err, os.ErrExist) {
		err = nil
	}
	if err == nil {
		err = u.own(f.live)
	}
	if err != nil {
		return fmt.Errorf("folder of QEMU: %w", err)
	}
	return nil
}

// runVersion is the version of run.json.
const runVersion = 1

// record is run.json: which process is this VM's QEMU.
type record struct {
	Version   int       `json:"version"`
	PID       int       `json:"pid"`
	StartTime uint64    `json:"start_time"` // ticks since boot, as in /proc/PID/stat
	Spec      qemu.Spec `json:"spec"`
}

// load reads run.json; nil without error when there is none, or none of use: one
// that nobody can read names nobody when the lock is free, which QEMU holds.
func (f folder) load() (*record, error) {
	b, err := os.ReadFile(f.runFile())
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read run file: %w", err)
	}
	r, err := decode(b)
	if err != nil && !f.lives() {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("run file %s: %w", f.runFile(), err)
	}
	return r, nil
}

func decode(b []byte) (*record, error) {
	var r record
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, err
	}
	if r.Version != runVersion {
		return nil, fmt.Errorf("version %d, this program knows %d", r.Version, runVersion)
	}
	if r.PID <= 1 || r.StartTime == 0 {
		return nil, fmt.Errorf("process %d started at %d cannot be a QEMU", r.PID, r.StartTime)
	}
	return &r, nil
}

// save writes run.json whole or not at all, also when the power is cut.
func (f folder) save(r record) error {
	r.Version = runVersion
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("write run file: %w", err)
	}
	tmp := f.runFile() + ".new"
	file, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("write run file: %w", err)
	}
	_, err = file.Write(append(b, '\n'))
	if err := errors.Join(err, file.Sync(), file.Close()); err != nil {
		return fmt.Errorf("write run file: %w", err)
	}
	if err := os.Rename(tmp, f.runFile()); err != nil {
		return fmt.Errorf("write run file: %w", err)
	}
	return nil
}

// clear removes what a QEMU that is gone left behind. Logs stay.
func (f folder) clear() {
	for _, path := range []string{f.runFile(), f.qmp(), f.serial()} {
		_ = os.Remove(path) // absent is as good
	}
}

// ErrLives is returned when a QEMU of this VM is alive already.
var ErrLives = errors.New("a QEMU of this VM is alive")

// takeLock takes the lock that QEMU inherits. It is released when the last process
// that holds the file ends.
func (f folder) takeLock() (*os.File, error) {
	file, err := os.OpenFile(f.lock(), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock VM: %w", err)
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = file.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, ErrLives
		}
		return nil, fmt.Errorf("lock VM: %w", err)
	}
	return file, nil
}

// lives tells whether some QEMU holds the lock.
func (f folder) lives() bool {
	file, err := f.takeLock()
	if err == nil {
		_ = file.Close()
	}
	return errors.Is(err, ErrLives)
}

// lastWords is the end of QEMU's own log, on one line.
func (f folder) lastWords() string {
	b, err := readTail(f.qemuLog(), 400)
	if err != nil {
		return ""
	}
	return strings.Join(strings.Fields(string(b)), " ")
}

func readTail(path string, n int64) ([]byte, error) {
	// A link there would be QEMU's doing, to somebody else's file.
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	size, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, err
	}
	b := make([]byte, min(n, size))
	got, err := file.ReadAt(b, size-int64(len(b)))
	if errors.Is(err, io.EOF) {
		err = nil // it was cut meanwhile
	}
	return b[:got], err
}

// startTime is when a process began, in ticks since boot: with its number it is
// an identity.
func startTime(pid int) (uint64, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, err
	}
	return parseStartTime(b)
}

// parseStartTime finds the field in a stat line. The second field is the
// program's name in brackets and may hold anything, brackets and spaces too.
func parseStartTime(stat []byte) (uint64, error) {
	_, rest, found := cutLast(stat, ')')
	fields := strings.Fields(string(rest))
	if !found || len(fields) < 20 {
		return 0, errors.New("stat line of a process: too few fields")
	}
	t, err := strconv.ParseUint(fields[19], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("start time of a process: %w", err)
	}
	return t, nil
}

func cutLast(b []byte, sep byte) (before, after []byte, found bool) {
	i := bytes.LastIndexByte(b, sep)
	if i < 0 {
		return b, nil, false
	}
	return b[:i], b[i+1:], true
}
