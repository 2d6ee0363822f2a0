package pstore

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	// Keep is how many records are kept in all.
	Keep = 32
	// maxRecord bounds one; a kernel's messages are much shorter.
	maxRecord = 1 << 20
	// maxWords bounds what is told of one.
	maxWords = 160
)

// Death is what was found.
type Death struct {
	Records int
	// Words are the kernel's: the line that names its end, or else its last one.
	Words string
}

// Collect moves all records of the file system at from into the folder to, which is
// made, under names that begin with the time. What went wrong is told beside what
// was done.
func Collect(from, to string, now time.Time) (Death, error) {
	var d Death
	entries, err := os.ReadDir(from)
	if errors.Is(err, os.ErrNotExist) || err == nil && len(entries) == 0 {
		return d, nil
	}
	if err != nil {
		return d, fmt.Errorf("what the last kernel left: %w", err)
	}
	if err := os.MkdirAll(to, 0o700); err != nil {
		return d, fmt.Errorf("what the last kernel left: %w", err)
	}
	var faults []error
	best := len(ends) // a death is told in several records, most of which name no end
	for i, e := range entries {
		if i == Keep {
			break // the others follow at the next boot
		}
		if !e.Type().IsRegular() {
			continue
		}
		b, err := move(filepath.Join(from, e.Name()), filepath.Join(to, now.UTC().Format("20060102-150405-")+e.Name()))
		if err != nil {
			faults = append(faults, err)
			continue
		}
		d.Records++
		if w, rank := words(b); rank < best || d.Words == "" {
			d.Words, best = w, rank
		}
	}
	if err := errors.Join(append(faults, bound(to))...); err != nil {
		return d, fmt.Errorf("what the last kernel left: %w", err)
	}
	return d, nil
}

func move(from, to string) ([]byte, error) {
	in, err := os.Open(from)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(in, maxRecord))
	if err := errors.Join(err, in.Close()); err != nil {
		return nil, err
	}
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	_, err = out.Write(b)
	if err := errors.Join(err, out.Sync(), out.Close()); err != nil {
		return nil, errors.Join(err, os.Remove(to)) // a full disk must not keep half of it
	}
	return b, os.Remove(from)
}

// bound removes the oldest: names begin with the time.
func bound(folder string) error {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return err
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	slices.Sort(names)
	var faults []error
	for _, n := range names[:max(0, len(names)-Keep)] {
		faults = append(faults, os.Remove(filepath.Join(folder, n)))
	}
	return errors.Join(faults...)
}

// ends are how the kernel names its end, the plainest first. (A lockup is a BUG; what the
// kernel says of its watchdogs at each start is none.) Where init has had the kernel panic,
// its own words say why, and the kernel's only that.
var ends = []string{"the watchdog is not fed", "Kernel panic", "BUG:", "Oops", "Out of memory"}

// words finds the line that names the end, and how plainly: len(ends) is not at all.
func words(b []byte) (line string, rank int) {
	var last string
	found := make([]string, len(ends))
	s := bufio.NewScanner(bytes.NewReader(b))
	s.Buffer(nil, maxRecord)
	for s.Scan() {
		text := strings.TrimSpace(printable(s.Text()))
		if text == "" {
			continue
		}
		last = text
		for i, e := range ends {
			if at := strings.Index(text, e); at >= 0 && found[i] == "" {
				found[i] = text[at:]
			}
		}
	}
	for i, f := range found {
		if f != "" {
			return clip(f), i
		}
	}
	return clip(last), len(ends)
}

func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '\uFFFD' {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, " "))
}

func clip(s string) string {
	if r := []rune(s); len(r) > maxWords {
		return string(r[:maxWords])
	}
	return s
}
