package build

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"beffroi.dev/image/initramfs"
	"beffroi.dev/image/packages"
	"beffroi.dev/image/userland"
)

// The parts that come from packages alone, and are kept as files of these names.
const (
	partRelease   = "release"   // of the kernel
	partLinux     = "linux"     // the kernel
	partMicrocode = "microcode" // archives of the initial file system, in their order
	partUserland  = "userland"
	partModules   = "modules"
	partStub      = "stub"
	partLoader    = "loader"
	partMke2fs    = "mke2fs.conf"
)

var baseParts = []string{partRelease, partLinux, partMicrocode, partUserland, partModules, partStub, partLoader, partMke2fs}

// base holds these parts by name.
type base map[string][]byte

// base returns the parts from the cache, or makes them.
func (j *job) base(ctx context.Context) (base, error) {
	key, err := hashFiles(j.Source, j.Lock, "image/packages", "image/initramfs", "image/userland", "image/build/base.go")
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(j.Cache, "base-"+key)
	if b, err := loadBase(dir); err == nil {
		j.say("packages: as the last time")
		return b, nil
	}
	b, err := j.makeBase(ctx)
	if err != nil {
		return nil, err
	}
	return b, saveBase(dir, b)
}

func loadBase(dir string) (base, error) {
	b := base{}
	for _, p := range baseParts {
		data, err := os.ReadFile(filepath.Join(dir, p))
		if err != nil {
			return nil, err
		}
		b[p] = data
	}
	return b, nil
}

// saveBase makes the folder appear with all its files or not at all.
func saveBase(dir string, b base) error {
	tmp, err := os.MkdirTemp(filepath.Dir(dir), "new-")
	if err != nil {
		return fmt.Errorf("cache: %w", err)
	}
	defer os.RemoveAll(tmp)
	for _, p := range baseParts {
		if err := os.WriteFile(filepath.Join(tmp, p), b[p], 0o644); err != nil {
			return fmt.Errorf("cache: %w", err)
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("cache: %w", err)
	}
	if err := os.Rename(tmp, dir); err != nil {
		return fmt.Errorf("cache: %w", err)
	}
	return nil
}

// fetch gets the packages and reads what may be needed of them: the kernel's into
// one tree, what packs the user land into another, all else into the third.
func (j *job) fetch(ctx context.Context) (kernel, tools, rest packages.Tree, err error) {
	kernel, tools, rest = packages.Tree{}, packages.Tree{}, packages.Tree{}
	cache := packages.Cache{Dir: filepath.Join(j.Cache, "deb"), Base: j.Mirror}
	for i, p := range j.lock.Packages {
		if i%10 == 0 {
			j.say("packages: %d of %d", i, len(j.lock.Packages))
		}
		deb, err := cache.Fetch(ctx, p)
		if err != nil {
			return nil, nil, nil, err
		}
		switch {
		case strings.HasPrefix(p.Name, "linux-image-"):
			err = kernel.Add(deb, func(f string) bool { return !initramfs.Skip("/" + f) })
		case p.Name == "squashfs-tools":
			err = tools.Add(deb, nil)
		case strings.HasPrefix(p.Name, "firmware-") || strings.HasSuffix(p.Name, "-microcode"):
			err = rest.Add(deb, func(f string) bool { return strings.HasPrefix(f, "usr/lib/firmware/") })
		default:
			err = rest.Add(deb, func(f string) bool {
				return !strings.HasPrefix(f, "usr/share/doc/") && !strings.HasPrefix(f, "usr/share/locale/")
			})
		}
		if err != nil {
			return nil, nil, nil, err
		}
	}
	// The tools find their libraries beside everything else.
	for p, e := range rest {
		if _, ok := tools[p]; !ok {
			tools[p] = e
		}
	}
	return kernel, tools, rest, nil
}

func (j *job) makeBase(ctx context.Context) (base, error) {
	kernel, tools, rest, err := j.fetch(ctx)
	if err != nil {
		return nil, err
	}
	j.say("modules")
	modules, err := initramfs.ChooseModules(kernel, initramfs.Wanted)
	if err != nil {
		return nil, err
	}
	archive, err := initramfs.Pack(modules.Entries)
	if err != nil {
		return nil, err
	}
	var packed bytes.Buffer
	if err := initramfs.Compress(&packed, archive); err != nil {
		return nil, err
	}
	b := base{partRelease: []byte(modules.Release), partModules: packed.Bytes()}
	if b[partMicrocode], err = initramfs.Microcode(rest); err != nil {
		return nil, err
	}
	if b[partUserland], err = j.makeUserland(ctx, rest, tools, modules.Firmware); err != nil {
		return nil, err
	}
	for name, from := range map[string]struct {
		t    packages.Tree
		path string
	}{
		partLinux:  {kernel, "boot/vmlinuz-" + modules.Release},
		partStub:   {rest, "usr/lib/systemd/boot/efi/linuxx64.efi.stub"},
		partLoader: {rest, "usr/lib/systemd/boot/efi/systemd-bootx64.efi"},
		partMke2fs: {rest, "etc/mke2fs.conf"},
	} {
		e, ok := from.t[from.path]
		if !ok || len(e.Data) == 0 {
			return nil, fmt.Errorf("build: no package holds %s", from.path)
		}
		b[name] = e.Data
	}
	return b, nil
}

// makeUserland packs what lies below /usr and puts it in an archive of its own.
func (j *job) makeUserland(ctx context.Context, t, tools packages.Tree, firmware []string) ([]byte, error) {
	j.say("user land")
	paths, err := userland.Choose(t, firmware)
	if err != nil {
		return nil, err
	}
	work, err := os.MkdirTemp(j.Cache, "squashfs-")
	if err != nil {
		return nil, fmt.Errorf("build: %w", err)
	}
	defer os.RemoveAll(work)
	if work, err = filepath.Abs(work); err != nil {
		return nil, fmt.Errorf("build: %w", err)
	}
	out := filepath.Join(work, "usr.squashfs")
	if err := userland.Pack(ctx, t, paths, tools, work, out); err != nil {
		return nil, err
	}
	data, err := os.ReadFile(out)
	if err != nil {
		return nil, fmt.Errorf("build: %w", err)
	}
	return initramfs.Pack([]initramfs.Entry{initramfs.File("usr.squashfs", data)})
}

// hashFiles is one hash of files, and of all files in folders, without tests. The
// lock may lie anywhere, all else lies below source.
func hashFiles(source, lock string, names ...string) (string, error) {
	all := []string{lock}
	for _, n := range names {
		err := filepath.WalkDir(filepath.Join(source, n), func(p string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() && !strings.HasSuffix(p, "_test.go") && filepath.Base(p) != "lock.json" {
				all = append(all, p)
			}
			return err
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("build: %w", err)
		}
	}
	sort.Strings(all[1:])
	h := sha256.New()
	for _, p := range all {
		b, err := os.ReadFile(p)
		if err != nil {
			return "", fmt.Errorf("build: %w", err)
		}
		fmt.Fprintf(h, "%s %d\n", filepath.Base(p), len(b))
		h.Write(b)
	}
	return hex.EncodeToString(h.Sum(nil))[:16], nil
}
