package build

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// MaxKernelImage bounds the one file that a slot holds: two of them and one that is
// being written have to fit on the ESP, and firmware reads it slowly.
const MaxKernelImage = 90_000_000

// cmdline is the kernel's command line: quiet enough for a status screen on a
// serial line, and a panic ends in a new start.
const cmdline = "console=tty0 console=ttyS0,115200 panic=10 loglevel=4 rdinit=/init"

// tries is how often the loader starts an image that has not yet proved good.
const tries = 3

// Config says what to build, from what and where.
type Config struct {
	Version string
	Source  string // our source
	Out     string // the results
	Cache   string // may be deleted at any time
	Lock    string
	Mirror  string // base URL
	Key     string // PEM file of an RSA key; empty: a development key below Out
	Cert    string // PEM file of its certificate
	Built   int64  // the image's time, seconds since 1970; 0: see builtAt
}

// names is what a version may be: it becomes part of file names and is compared.
var names = regexp.MustCompile(`^[0-9]+(\.[0-9]+)*(~?[a-z0-9]+)?$`)

// Validate reports a configuration that cannot be built.
func (c Config) Validate() error {
	switch {
	case !names.MatchString(c.Version):
		return fmt.Errorf("build: version %q: want numbers with dots, like 1.4.0", c.Version)
	case c.Source == "" || c.Out == "" || c.Cache == "" || c.Lock == "" || c.Mirror == "":
		return errors.New("build: source, out, cache, lock and mirror are needed")
	case (c.Key == "") != (c.Cert == ""):
		return errors.New("build: a key needs its certificate, and the other way round")
	case c.Built < 0:
		return fmt.Errorf("build: %d is no time", c.Built)
	}
	return nil
}

// builtAt is the time that the image names as its own, and that its nodes take for
// the earliest possible one. It must not come from this machine's clock.
func (c Config) builtAt(ctx context.Context) (int64, error) {
	if c.Built != 0 {
		return c.Built, nil
	}
	text := os.Getenv("SOURCE_DATE_EPOCH")
	if text == "" {
		cmd := exec.CommandContext(ctx, "git", "log", "-1", "--format=%ct")
		cmd.Dir = c.Source
		out, err := cmd.Output()
		if err != nil {
			return 0, errors.New("build: the image's time is unknown: set SOURCE_DATE_EPOCH, or build in a git repository")
		}
		text = string(out)
	}
	at, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	if err != nil || at <= 0 {
		return 0, fmt.Errorf("build: SOURCE_DATE_EPOCH %q is no time", text)
	}
	return at, nil
}

// progress tells what is being done, with the seconds since the beginning.
type progress struct {
	w     io.Writer
	begun time.Time
}

func (p progress) say(format string, args ...any) {
	fmt.Fprintf(p.w, "%6.1f s  %s\n", time.Since(p.begun).Seconds(), fmt.Sprintf(format, args...))
}
