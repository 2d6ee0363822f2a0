package fence

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// maxRunFile bounds what is read of a run.json.
const maxRunFile = 1 << 20

// Kill kills the QEMU of a VM's folder, if one lives: the process that run.json
// names, told from a later one of the same number by its start time. It reports
// whether there was one.
func Kill(folder string) (bool, error) {
	path := filepath.Join(folder, "run.json")
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil // not running
	}
	if err != nil || len(b) > maxRunFile {
		return false, fmt.Errorf("fence %s: %d bytes, %w", path, len(b), err)
	}
	var r struct {
		PID       int    `json:"pid"`
		StartTime uint64 `json:"start_time"`
	}
	if err := json.Unmarshal(b, &r); err != nil || r.PID <= 1 {
		if !held(filepath.Join(folder, "run.lock")) {
			return false, nil // a file that a power cut tore; QEMU would hold the lock
		}
		return false, fmt.Errorf("fence %s: process %d: %w", path, r.PID, errors.Join(err, errRunFile))
	}
	fd, err := unix.PidfdOpen(r.PID, 0)
	if errors.Is(err, unix.ESRCH) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("fence %s: process %d: %w", path, r.PID, err)
	}
	defer unix.Close(fd)
	// Read after the descriptor was opened: it is that process's own, or that
	// process is gone and the signal reaches nobody.
	if began, alive := startTime(r.PID); !alive || began != r.StartTime {
		return false, nil
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return false, fmt.Errorf("fence %s: kill process %d: %w", path, r.PID, err)
	}
	return true, nil
}

// held reports whether somebody holds a lock, as a living QEMU does from its start
// to its end. In doubt it is held.
func held(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return !errors.Is(err, os.ErrNotExist)
	}
	defer f.Close()
	return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil
}

var errRunFile = errors.New("not a run file")

// startTime reads field 22 of a process's stat line; false for one that is gone
// or only waits to be collected. The second field is a name that may hold
// anything, so the fields are counted from its last bracket.
func startTime(pid int) (uint64, bool) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, false
	}
	fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(fields) < 20 || fields[0][0] == 'Z' || fields[0][0] == 'X' {
		return 0, false
	}
	n, err := strconv.ParseUint(string(fields[19]), 10, 64)
	return n, err == nil
}
