package supervise

import (
	"io"
	"strings"
	"sync"
)

const (
	// voiceTail bounds what is remembered of a life's output: a fault
	// of the Go runtime says what it is first and where last.
	voiceTail = 4 << 10
	maxWords  = 240
)

// voice is what one life of a service says: all of it goes to the log, and the end
// is remembered.
type voice struct {
	log io.Writer

	mu    sync.Mutex // guards all below
	tail  []byte
	fault string // the first line that names a fault of the runtime
	line  []byte // begun, not ended
}

// faults are how Go's runtime begins its last words.
var faults = []string{"panic: ", "fatal error: ", "runtime: ", "SIGSEGV", "SIGABRT", "SIGBUS", "SIGILL", "SIGFPE", "SIGTRAP", "SIGQUIT"}

// Write never fails for its caller.
func (v *voice) Write(p []byte) (int, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.tail = append(v.tail, p...)
	if over := len(v.tail) - voiceTail; over > 0 {
		v.tail = append(v.tail[:0], v.tail[over:]...)
	}
	for _, b := range p {
		switch {
		case b == '\n':
			v.ended(string(v.line))
			v.line = v.line[:0]
		case len(v.line) < maxWords:
			v.line = append(v.line, b)
		}
	}
	_, _ = v.log.Write(p) // it never fails
	return len(p), nil
}

func (v *voice) ended(line string) {
	for _, f := range faults {
		if v.fault == "" && strings.HasPrefix(line, f) {
			v.fault = line
		}
	}
}

// words are the last ones: of a fault its name, else the last line.
func (v *voice) words() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	text := v.fault
	if text == "" {
		lines := strings.Split(strings.TrimSpace(string(v.tail)), "\n")
		text = lines[len(lines)-1]
	}
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
	if r := []rune(text); len(r) > maxWords {
		text = string(r[:maxWords])
	}
	return strings.TrimSpace(text)
}
