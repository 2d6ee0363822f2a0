package serial

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/hinshun/vt10x"
)

// The screen, and what its line carries: ten bits a byte.
const (
	Width, Height = 80, 24
	Baud          = 115200
	perSecond     = Baud / 10
	// kept is how much of what the node has said a Line remembers.
	kept = 1 << 20
)

// Wire is what a serial line arrives on: a socket, or a terminal.
type Wire interface {
	io.ReadWriteCloser
	SetWriteDeadline(t time.Time) error
}

// Line is a terminal on a serial line.
type Line struct {
	conn Wire
	done chan struct{} // the reader has ended

	mu      sync.Mutex // guards the rest
	term    vt10x.Terminal
	tail    []byte // of a letter that has not come whole
	said    []byte // the newest of what the node sent, without the terminal's orders
	dropped int    // bytes of said that were forgotten
	total   int    // bytes that have come
	news    chan struct{}
	ended   error
}

// Dial connects a terminal to the socket of a node's serial line, and asks for the
// screen to be drawn: what was sent before nobody saw.
func Dial(ctx context.Context, socket string) (*Line, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, fmt.Errorf("serial line: %w", err)
	}
	l := New(conn)
	if err := l.Press("\x0c"); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// New puts a terminal on a connection.
func New(conn Wire) *Line {
	l := &Line{conn: conn, done: make(chan struct{}), news: make(chan struct{})}
	// What the terminal is asked (where is your cursor?) it answers on the line.
	l.term = vt10x.New(vt10x.WithSize(Width, Height), vt10x.WithWriter(conn))
	go l.read()
	return l
}

// Close takes the terminal off the line.
func (l *Line) Close() error {
	err := l.conn.Close()
	<-l.done
	return err
}

// read draws, no faster than the line carries.
func (l *Line) read() {
	defer close(l.done)
	buf := make([]byte, perSecond/50)
	for {
		n, err := l.conn.Read(buf)
		l.take(buf[:n], err)
		if err != nil {
			return
		}
		time.Sleep(time.Duration(n) * time.Second / perSecond)
	}
}

// orders are what moves a terminal and is no text.
var orders = regexp.MustCompile("\x1b(\\[[0-9;?]*[ -/]*[@-~]|[()][0-9A-B]|[=>78cDEHM])|[\x00\x07\x0e\x0f]")

func (l *Line) take(b []byte, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.total += len(b)
	l.tail = append(l.tail, b...)
	whole := len(l.tail) - unfinished(l.tail)
	if whole > 0 {
		_, _ = l.term.Write(l.tail[:whole]) // an emulator in memory
		l.said = append(l.said, l.tail[:whole]...)
		l.tail = append([]byte(nil), l.tail[whole:]...)
	}
	if over := len(l.said) - kept; over > 0 {
		l.said, l.dropped = append([]byte(nil), l.said[over:]...), l.dropped+over
	}
	if err != nil {
		l.ended = fmt.Errorf("the serial line has ended: %w", err)
	}
	close(l.news)
	l.news = make(chan struct{})
}

// unfinished is how many bytes at the end begin a letter that is not whole yet.
func unfinished(b []byte) int {
	for n := 1; n <= min(3, len(b)); n++ {
		if c := b[len(b)-n]; utf8.RuneStart(c) {
			if c >= 0xc0 && !utf8.FullRune(b[len(b)-n:]) {
				return n
			}
			return 0
		}
	}
	return 0
}

// Press types.
func (l *Line) Press(keys string) error {
	if err := l.conn.SetWriteDeadline(time.Now().Add(time.Minute)); err != nil {
		return fmt.Errorf("type: %w", err)
	}
	if _, err := l.conn.Write([]byte(keys)); err != nil {
		return fmt.Errorf("type: %w", err)
	}
	return nil
}

// Screen returns what the terminal shows: 24 lines, hard spaces as spaces.
func (l *Line) Screen() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.screen()
}

func (l *Line) screen() string {
	rows := make([]string, Height)
	for y := range rows {
		row := make([]rune, Width)
		for x := range row {
			switch row[x] = l.term.Cell(x, y).Char; row[x] {
			case 0, '\u00a0':
				row[x] = ' '
			}
		}
		rows[y] = strings.TrimRight(string(row), " ")
	}
	return strings.Join(rows, "\n")
}

// Cell returns one character of the screen, with its colours as the emulator numbers
// them (16 are the terminal's own; more are its defaults).
func (l *Line) Cell(x, y int) vt10x.Glyph {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.term.Cell(x, y)
}

// Received is how many bytes have come so far.
func (l *Line) Received() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.total
}

// Await waits until all texts are on the screen, and returns it. A screen that
// wraps a text at its edge does not show it: ask for a word.
func (l *Line) Await(ctx context.Context, texts ...string) (string, error) {
	return l.until(ctx, strings.Join(texts, ", "), func(screen string) bool {
		for _, t := range texts {
			if !strings.Contains(screen, t) {
				return false
			}
		}
		return true
	})
}

// AwaitAny waits until one of the texts is on the screen, and returns the screen.
func (l *Line) AwaitAny(ctx context.Context, texts ...string) (string, error) {
	return l.until(ctx, strings.Join(texts, " or "), func(screen string) bool {
		for _, t := range texts {
			if strings.Contains(screen, t) {
				return true
			}
		}
		return false
	})
}

func (l *Line) until(ctx context.Context, what string, ok func(screen string) bool) (string, error) {
	for {
		l.mu.Lock()
		screen, news, ended := l.screen(), l.news, l.ended
		l.mu.Unlock()
		if ok(screen) {
			return screen, nil
		}
		if ended != nil {
			return screen, fmt.Errorf("wait for %q: %w; the screen was\n%s", what, ended, screen)
		}
		select {
		case <-news:
		case <-ctx.Done():
			return screen, fmt.Errorf("wait for %q: %w; the screen is\n%s", what, context.Cause(ctx), screen)
		}
	}
}

// mark is a place in what the node says.
func (l *Line) mark() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dropped + len(l.said)
}

// heard waits until what was said since a mark matches, and returns the match and
// the mark after it.
func (l *Line) heard(ctx context.Context, since int, pattern *regexp.Regexp) (match []string, err error) {
	for {
		l.mu.Lock()
		from := max(since-l.dropped, 0)
		text := orders.ReplaceAllString(string(l.said[from:]), "")
		news, ended := l.news, l.ended
		l.mu.Unlock()
		if m := pattern.FindStringSubmatch(text); m != nil {
			return m, nil
		}
		if ended != nil {
			return nil, fmt.Errorf("wait for %v: %w; the node said\n%s", pattern, ended, end(text))
		}
		select {
		case <-news:
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for %v: %w; the node said\n%s", pattern, context.Cause(ctx), end(text))
		}
	}
}

func end(text string) string { return text[max(0, len(text)-2000):] }

// IsGone tells an end of the line, such as a power cut, from other errors.
func IsGone(err error) bool {
	return errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded) || strings.Contains(fmt.Sprint(err), "the serial line has ended")
}

// Hear waits until the node has said a text, on the screen still or gone from it.
func (l *Line) Hear(ctx context.Context, text string) error {
	_, err := l.heard(ctx, 0, regexp.MustCompile(regexp.QuoteMeta(text)))
	return err
}

// Err says why the line has ended; nil while it has not.
func (l *Line) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ended
}
