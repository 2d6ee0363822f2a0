package rootfs

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"
)

// module is one line of modules.list.
type module struct {
	path  string
	needs []string
}

// Modules knows the modules of one folder and loads them. The zero value knows none:
// each is ErrNoModule.
type Modules struct {
	dir     string
	known   map[string]module
	aliases map[string][]alias               // by the bus that the pattern begins with
	load    func(path, options string) error // the kernel's door

	mu     sync.Mutex // guards loaded; held while one is loaded
	loaded map[string]bool
}

type alias struct{ pattern, name string }

// OpenModules reads the two lists in dir.
func OpenModules(dir string) (*Modules, error) {
	m := &Modules{dir: dir, known: map[string]module{}, aliases: map[string][]alias{}, loaded: map[string]bool{}, load: finit}
	for name, parse := range map[string]func(io.Reader) error{"modules.list": m.readList, "modules.alias": m.readAliases} {
		f, err := os.Open(filepath.Join(dir, name))
		if err != nil {
			return nil, fmt.Errorf("modules: %w", err)
		}
		err = errors.Join(parse(f), f.Close())
		if err != nil {
			return nil, fmt.Errorf("modules: %s: %w", name, err)
		}
	}
	return m, nil
}

func (m *Modules) readList(r io.Reader) error {
	s := bufio.NewScanner(r)
	for s.Scan() {
		w := strings.Fields(s.Text())
		switch len(w) {
		case 0:
		case 2:
			m.known[plain(w[0])] = module{path: w[1]}
		case 3:
			m.known[plain(w[0])] = module{path: w[1], needs: strings.Split(w[2], ",")}
		default:
			return fmt.Errorf("line %q: want NAME PATH [NEEDS]", s.Text())
		}
	}
	return s.Err()
}

func (m *Modules) readAliases(r io.Reader) error {
	s := bufio.NewScanner(r)
	for s.Scan() {
		if w := strings.Fields(s.Text()); len(w) == 3 && w[0] == "alias" {
			pattern := plainPattern(w[1])
			m.aliases[bus(pattern)] = append(m.aliases[bus(pattern)], alias{pattern, plain(w[2])})
		}
	}
	return s.Err()
}

// bus is what every alias begins with, up to its colon: pci, usb, acpi (which the
// kernel writes acpi*). There are thousands of patterns, and a slow machine has time
// for those of one bus.
func bus(alias string) string {
	name, _, _ := strings.Cut(alias, ":")
	return strings.TrimRight(name, "*")
}

// plain is a module's name as the kernel writes it.
func plain(name string) string { return strings.ReplaceAll(name, "-", "_") }

// ErrNoModule is returned for a module that the image does not hold.
var ErrNoModule = errors.New("no such module in the image")

// Load loads a module after those it needs. A module that is part of the kernel,
// or loaded already, is no error.
func (m *Modules) Load(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.loadDepth(plain(name), 0)
}

func (m *Modules) has(name string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.loaded[name]
}

func (m *Modules) loadDepth(name string, depth int) error {
	if m.loaded[name] {
		return nil
	}
	mod, ok := m.known[name]
	if !ok {
		return fmt.Errorf("%s: %w", name, ErrNoModule)
	}
	if depth > 32 {
		return fmt.Errorf("module %s: needs go round in a circle", name)
	}
	for _, n := range mod.needs {
		if err := m.loadDepth(plain(n), depth+1); err != nil {
			return fmt.Errorf("module %s: %w", name, err)
		}
	}
	if err := m.load(filepath.Join(m.dir, mod.path), options[name]); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("module %s: %w", name, err)
	}
	m.loaded[name] = true
	return nil
}

// options of modules that would do nothing without.
var options = map[string]string{
	"efi_pstore": "pstore_disable=0", // Debian's kernel switches it off
}

// maxModule bounds a module, bytes: the largest drivers have some 10 MB.
const maxModule = 64 << 20

// finit gives a module to the kernel; one that is compressed is unpacked here, because
// not every kernel does it.
// One that is loaded already is not even read: an init that was killed comes back
// before the fence of its guests has passed.
func finit(file, options string) error {
	name := plain(strings.TrimSuffix(strings.TrimSuffix(filepath.Base(file), ".zst"), ".ko"))
	if _, err := os.Stat("/sys/module/" + name); err == nil {
		return unix.EEXIST
	}
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	if filepath.Ext(file) != ".zst" {
		return unix.FinitModule(int(f.Fd()), options, 0)
	}
	z, err := zstd.NewReader(f, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxModule))
	if err != nil {
		return err
	}
	defer z.Close()
	b, err := io.ReadAll(io.LimitReader(z, maxModule))
	if err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(file), err)
	}
	return unix.InitModule(b, options)
}

// For names the modules that drive a device, by its modalias.
func (m *Modules) For(modalias string) []string {
	var names []string
	want := plain(modalias)
	for _, a := range m.aliases[bus(want)] {
		if ok, err := path.Match(a.pattern, want); err == nil && ok {
			names = append(names, a.name)
		}
	}
	return names
}

// Request loads what the kernel asks for: a module by its name, or those with an
// alias of that name.
func (m *Modules) Request(name string) error {
	if _, ok := m.known[plain(name)]; ok {
		return m.Load(name)
	}
	names := m.For(name)
	if len(names) == 0 {
		return fmt.Errorf("%.100q: %w", name, ErrNoModule)
	}
	var faults []error
	for _, n := range names {
		faults = append(faults, m.Load(n))
	}
	return errors.Join(faults...)
}

// plainPattern is plain for a pattern, in whose brackets a dash means a range.
func plainPattern(p string) string {
	inside := false
	return strings.Map(func(r rune) rune {
		switch r {
		case '[', ']':
			inside = r == '['
		case '-':
			if !inside {
				return '_'
			}
		}
		return r
	}, p)
}

// Hotplug loads the modules of devices that appear, looking every so often until ctx
// ends. Devices that were there at its start are Coldplug's.
func (m *Modules) Hotplug(ctx context.Context, bus string, every time.Duration, tell func(device string, err error)) {
	known := deviceNames(bus)
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := deviceNames(bus)
		for d := range now {
			if known[d] {
				continue
			}
			b, err := os.ReadFile(filepath.Join(bus, d, "modalias"))
			if err != nil {
				continue // it needs no module, or has gone again
			}
			for _, name := range m.For(strings.TrimSpace(string(b))) {
				if !m.has(name) {
					tell(d, m.Load(name))
				}
			}
		}
		known = now
	}
}

// deviceNames lists the devices of all buses below a folder, as pci/devices/NAME.
func deviceNames(bus string) map[string]bool {
	all := map[string]bool{}
	buses, _ := os.ReadDir(bus) // none can be read: none is known
	for _, b := range buses {
		devices, _ := os.ReadDir(filepath.Join(bus, b.Name(), "devices"))
		for _, d := range devices {
			all[filepath.Join(b.Name(), "devices", d.Name())] = true
		}
	}
	return all
}

// Coldplug loads the modules of every device below root (/sys/devices) and
// returns those that it could not load. Loading one may make new devices appear,
// so it goes round until nothing new is found, at most four times.
func (m *Modules) Coldplug(root string) []error {
	tried, asked := map[string]bool{}, map[string]bool{}
	var faults []error
	for range 4 {
		news := false
		_ = filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
			if err != nil || d.Name() != "modalias" {
				return nil // a device that went while we looked
			}
			b, err := os.ReadFile(p)
			if err != nil {
				return nil
			}
			modalias := strings.TrimSpace(string(b))
			if asked[modalias] {
				return nil
			}
			asked[modalias] = true
			for _, name := range m.For(modalias) {
				if tried[name] {
					continue
				}
				tried[name], news = true, true
				if err := m.Load(name); err != nil {
					faults = append(faults, err)
				}
			}
			return nil
		})
		if !news {
			break
		}
	}
	return faults
}
