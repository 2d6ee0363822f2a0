package serial

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Shell is the rescue shell of a node.
type Shell struct {
	line *Line
	n    int
}

// Words of the way to the shell, in both languages.
var (
	shellEntry = map[Lang]string{French: "Interpréteur de secours", English: "Rescue shell"}
	shellAsks  = map[Lang]string{French: "Mot de passe de secours", English: "Rescue password"}
)

// prompt of a shell that reads: what is typed before it goes to a terminal whose
// settings are just being changed.
var prompt = regexp.MustCompile(`(?m)[$#] *$`)

// frame begins every screen of the console, and no shell's.
const frame = " BEFFROI · "

var attempts = regexp.MustCompile(`(?:Essais manqués|Failed attempts) ?: (\d+)`)

// refused is how many wrong passwords a screen tells of.
func refused(screen string) int {
	m := attempts.FindStringSubmatch(screen)
	if m == nil {
		return 0
	}
	n, _ := strconv.Atoi(m[1])
	return n
}

// Shell opens the rescue shell from wherever the console is.
func (l *Line) Shell(ctx context.Context, password string) (*Shell, error) {
	screen, err := l.Menu(ctx)
	if err != nil {
		return nil, err
	}
	lang := French
	if in(English, screen) {
		lang = English
	}
	if err := l.Choose(ctx, shellEntry[lang]); err != nil {
		return nil, err
	}
	if _, err := l.Await(ctx, shellAsks[lang]); err != nil {
		return nil, err
	}
	time.Sleep(escapePause) // the rest of the screen
	before := refused(l.Screen())
	if err := l.Press(password + "\r"); err != nil {
		return nil, err
	}
	screen, err = l.until(ctx, "the answer to the password", func(s string) bool {
		return !strings.Contains(s, frame) && prompt.MatchString(s) || refused(s) > before
	})
	if err != nil {
		return nil, err
	}
	if refused(screen) > before {
		return nil, fmt.Errorf("the rescue shell refuses this password:\n%s", screen)
	}
	s := &Shell{line: l}
	if _, err := s.Must(ctx, "true"); err != nil {
		return nil, fmt.Errorf("open the rescue shell: %w", err)
	}
	return s, nil
}

// Run runs a command line and returns what it printed and its exit code.
func (s *Shell) Run(ctx context.Context, command string) (out string, code int, err error) {
	s.n++
	since := s.line.mark()
	// The marks are typed in two pieces, so that the echo of the line is none.
	if err := s.line.Press(fmt.Sprintf("{ echo BEG''IN-%d; %s; echo EN''D-%d-$?; }\r", s.n, command, s.n)); err != nil {
		return "", 0, err
	}
	m, err := s.line.heard(ctx, since, regexp.MustCompile(fmt.Sprintf(`(?s)BEGIN-%d\r?\n(.*?)END-%d-(\d+)`, s.n, s.n)))
	if err != nil {
		return "", 0, fmt.Errorf("rescue shell, %q: %w", command, err)
	}
	code, err = strconv.Atoi(m[2])
	return strings.TrimSpace(strings.ReplaceAll(m[1], "\r", "")), code, err
}

// Must runs a command that has to succeed.
func (s *Shell) Must(ctx context.Context, command string) (string, error) {
	out, code, err := s.Run(ctx, command)
	if err == nil && code != 0 {
		err = fmt.Errorf("rescue shell, %q: exit code %d: %s", command, code, out)
	}
	return out, err
}

// Send types a command whose answer nobody waits for: it may end the machine.
func (s *Shell) Send(command string) error { return s.line.Press(command + "\r") }

// Leave ends the shell and waits for the console's first screen.
func (s *Shell) Leave(ctx context.Context) error {
	if err := s.line.Press("exit 0\r"); err != nil {
		return err
	}
	time.Sleep(100 * time.Millisecond)
	_, err := s.line.Home(ctx)
	return err
}
