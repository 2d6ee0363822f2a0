package power

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"time"

	"beffroi.dev/pkg/task"
)

const (
	stopBound = 2 * time.Second
	rescan    = 10 * time.Second
)

// Config says where the kernel shows input devices. Empty fields take the kernel's
// own places.
type Config struct {
	Devices string        // folder of event0, event1 ...
	Class   string        // folder that tells what they can
	Rescan  time.Duration // between two looks for new devices
}

func (c Config) withDefaults() Config {
	if c.Devices == "" {
		c.Devices = "/dev/input"
	}
	if c.Class == "" {
		c.Class = "/sys/class/input"
	}
	if c.Rescan == 0 {
		c.Rescan = rescan
	}
	return c
}

// Watch calls pressed at each press of a power button until ctx ends. Devices that
// come later are found too; one that goes is forgotten.
func Watch(ctx context.Context, c Config, pressed func(), log *slog.Logger) error {
	c = c.withDefaults()
	g := task.New(ctx)
	gone := make(chan string)
	open := map[string]bool{}
	tick := time.NewTicker(c.Rescan)
	defer tick.Stop()
	for ctx.Err() == nil {
		paths, _ := filepath.Glob(filepath.Join(c.Devices, "event*")) // only a bad pattern fails
		for _, path := range paths {
			if open[path] || !hasButton(filepath.Join(c.Class, filepath.Base(path))) {
				continue
			}
			f, err := os.OpenFile(path, os.O_RDONLY, 0)
			if err != nil {
				log.Warn("a power button cannot be heard", "device", path, "cause", err)
				continue
			}
			open[path] = true
			log.Debug("power button", "device", path)
			g.Go("power button "+path, func(ctx context.Context) error {
				stop := context.AfterFunc(ctx, func() { _ = f.Close() })
				defer stop()
				defer f.Close()
				_ = listen(f, pressed) // it ends when the device goes, or with ctx
				select {
				case gone <- path:
				case <-ctx.Done():
				}
				return nil
			})
		}
		select {
		case <-ctx.Done():
		case path := <-gone:
			delete(open, path)
		case <-tick.C:
		}
	}
	if err := g.Stop(stopBound); err != nil {
		return fmt.Errorf("stop listening to the power button: %w", err)
	}
	return nil
}

// What the kernel calls the key (linux/input-event-codes.h).
const (
	evKey    = 1
	keyPower = 116
	eventLen = 24
)

// hasButton reads the bit set of keys that a device has: words of 64 bits in
// hexadecimal, the highest first.
func hasButton(class string) bool {
	b, err := os.ReadFile(filepath.Join(class, "device", "capabilities", "key"))
	if err != nil || len(b) > 1024 {
		return false
	}
	keys := new(big.Int)
	for word := range strings.FieldsSeq(string(b)) {
		n, ok := new(big.Int).SetString(word, 16)
		if !ok || n.BitLen() > 64 {
			return false
		}
		keys.Or(keys.Lsh(keys, 64), n)
	}
	return keys.Bit(keyPower) == 1
}

// listen reads events of 24 bytes:
//
//	offset  size  field
//	0       16    time
//	16      2     type; 1: a key
//	18      2     code
//	20      4     value; 1: pressed, 2: held, 0: released
func listen(r io.Reader, pressed func()) error {
	b := make([]byte, eventLen)
	for {
		if _, err := io.ReadFull(r, b); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return fmt.Errorf("read input events: %w", err)
		}
		if binary.NativeEndian.Uint16(b[16:]) == evKey && binary.NativeEndian.Uint16(b[18:]) == keyPower && binary.NativeEndian.Uint32(b[20:]) == 1 {
			pressed()
		}
	}
}
