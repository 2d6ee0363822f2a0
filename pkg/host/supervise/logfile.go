package supervise

import (
	"errors"
	"fmt"
	"os"
	"sync"
)

// LogFile is a bounded log: NAME and, once that is full, NAME.1. What a
// service says never fills the disk.
type LogFile struct {
	path  string
	bound int64

	mu   sync.Mutex // guards all below
	file *os.File
	size int64
}

// OpenLog appends to the file at path, and keeps at most twice the bound.
func OpenLog(path string, bound int64) (*LogFile, error) {
	l := &LogFile{path: path, bound: bound}
	if err := l.open(); err != nil {
		return nil, err
	}
	return l, nil
}

func (l *LogFile) open() error {
	f, err := os.OpenFile(l.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	fi, err := f.Stat()
	if err != nil {
		return errors.Join(fmt.Errorf("open log: %w", err), f.Close())
	}
	l.file, l.size = f, fi.Size()
	return nil
}

// Write appends. It never fails for its caller: a full disk must not stop a
// service, so what cannot be written is lost.
func (l *LogFile) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.size > 0 && l.size+int64(len(p)) > l.bound {
		l.rotate()
	}
	if l.file != nil {
		n, _ := l.file.Write(p)
		l.size += int64(n)
	}
	return len(p), nil
}

func (l *LogFile) rotate() {
	if l.file != nil {
		_ = l.file.Close()
		l.file = nil
	}
	_ = os.Rename(l.path, l.path+".1") // when it fails the file is emptied below
	if l.open() == nil && l.size >= l.bound {
		_ = l.file.Truncate(0)
		l.size = 0
	}
}

// Close closes the file.
func (l *LogFile) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil
	}
	err := l.file.Close()
	l.file = nil
	return err
}
