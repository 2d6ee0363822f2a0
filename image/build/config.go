package build

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"beffroi.dev/image/packages"
)

// MaxUKI is the size that the kernel image may have.
const MaxUKI = 90_000_000

// CommandLine is what the kernel is told. Quiet enough for a screen on the serial
// line. A panic before init runs stays on the screen: an image that is damaged would
// start over for ever, because there is no other slot to fall back to yet; init turns
// restarts on (docs/decisions/0011). Huge pages are for those who ask, as QEMU does for a guest's
// memory: given to all, they take twice as much for our services.
const CommandLine = "console=tty0 console=ttyS0,115200 panic=0 loglevel=4 transparent_hugepage=madvise rdinit=/init"

// Config says what to build, and where.
type Config struct {
	Version   string
	Source    string // folder with our source
	Lock      string // file
	Mirror    string // URL
	Out       string // folder
	Cache     string // folder
	Key, Cert string // files in PEM; both empty: a development key
	// Built is the image's time in seconds since 1970, before which no clock of a node
	// can be right. 0: SOURCE_DATE_EPOCH, else the time of the last commit.
	Built int64
}

var version = regexp.MustCompile(`^[0-9]+(\.[0-9]+){0,3}([~-][a-z0-9.]+)?$`)

// Validate reports what is wrong with the configuration.
func (c Config) Validate() error {
	switch {
	case !version.MatchString(c.Version):
		return fmt.Errorf("version %q: want numbers and dots", c.Version)
	case c.Source == "" || c.Lock == "" || c.Out == "" || c.Cache == "" || c.Mirror == "":
		return errors.New("source, lock, mirror, out and cache are needed")
	case (c.Key == "") != (c.Cert == ""):
		return errors.New("a key and its certificate belong together")
	case c.Built < 0:
		return fmt.Errorf("%d is no time of an image", c.Built)
	}
	return nil
}

// builder is one build.
type builder struct {
	Config
	lock    packages.Lock
	cache   packages.Cache
	started time.Time
	log     io.Writer
	maker   string // hash of the code that makes the stages
}

// Run builds the image.
func Run(ctx context.Context, c Config, log io.Writer) error {
	if err := c.Validate(); err != nil {
		return err
	}
	b := &builder{Config: c, started: time.Now(), log: log}
	for _, p := range []*string{&b.Source, &b.Out, &b.Cache} {
		abs, err := filepath.Abs(*p)
		if err != nil {
			return err
		}
		*p = abs
	}
	var err error
	if b.lock, err = packages.Load(c.Lock); err != nil {
		return err
	}
	if b.Built, err = c.builtAt(ctx); err != nil {
		return err
	}
	if b.maker, err = makerHash(); err != nil {
		return err
	}
	b.cache = packages.Cache{Dir: filepath.Join(b.Cache, "deb"), Base: c.Mirror}
	if err := os.MkdirAll(b.Out, 0o755); err != nil {
		return err
	}
	p, err := b.parts(ctx)
	if err != nil {
		return err
	}
	return b.join(p)
}

func hash(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// say prints a line of progress with the seconds since the start.
func (b *builder) say(format string, args ...any) {
	fmt.Fprintf(b.log, "%6.1f s  %s\n", time.Since(b.started).Seconds(), fmt.Sprintf(format, args...))
}
