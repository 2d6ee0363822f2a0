package build

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"beffroi.dev/image/initramfs"
	"beffroi.dev/image/packages"
	"beffroi.dev/image/userland"
)

// parts are all that is joined to an image.
type parts struct {
	Kernel, Release        []byte
	Microcode, Modules     []byte // archives, ready for the chain
	Userland, Mke2fs       []byte
	Recovery               []byte
	Loader, Stub           []byte
	Init, Beffroi, Control []byte
}

// tools are packages that build the image and are not in it.
var tools = []string{"squashfs-tools"}

// kernelPackages begin the names of what the kernel stage reads.
var kernelPackages = []string{"linux-image-", "intel-microcode", "amd64-microcode"}

func (b *builder) parts(ctx context.Context) (parts, error) {
	var p parts
	if err := b.fetch(ctx, tellEvery); err != nil {
		return p, err
	}
	if err := b.programs(ctx, &p); err != nil {
		return p, err
	}
	firmware, err := b.kernel(ctx, &p)
	if err != nil {
		return p, err
	}
	if err := b.userland(ctx, &p, firmware); err != nil {
		return p, err
	}
	if err := b.recovery(ctx, &p); err != nil {
		return p, err
	}
	return p, b.loader(ctx, &p)
}

// tree reads packages of the lock by the beginnings of their names.
func (b *builder) tree(ctx context.Context, want func(p packages.Package) bool, path func(string) bool) (packages.Tree, error) {
	t := packages.Tree{}
	for _, p := range b.lock.Packages {
		if !want(p) {
			continue
		}
		deb, err := b.cache.Fetch(ctx, p)
		if err != nil {
			return nil, err
		}
		if err := t.Add(deb, path); err != nil {
			return nil, err
		}
	}
	return t, nil
}

func begins(name string, prefixes []string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(name, p) {
			return true
		}
	}
	return false
}

// sums are the inputs of a stage that reads some packages.
func (b *builder) sums(want func(p packages.Package) bool) []string {
	var all []string
	for _, p := range b.lock.Packages {
		if want(p) {
			all = append(all, p.SHA256)
		}
	}
	return all
}

func (b *builder) kernel(ctx context.Context, p *parts) ([]string, error) {
	want := func(p packages.Package) bool { return begins(p.Name, kernelPackages) }
	dir, err := b.stage("kernel", b.sums(want), func(dir string) error {
		t, err := b.tree(ctx, want, func(f string) bool { return !initramfs.Skip(f) && !strings.HasPrefix(f, "usr/share/") })
		if err != nil {
			return err
		}
		return writeKernel(t, dir)
	})
	if err != nil {
		return nil, err
	}
	f, err := files(dir, "vmlinuz", "release", "microcode", "modules", "firmware.json")
	if err != nil {
		return nil, err
	}
	p.Kernel, p.Release, p.Microcode, p.Modules = f["vmlinuz"], f["release"], f["microcode"], f["modules"]
	var firmware []string
	return firmware, json.Unmarshal(f["firmware.json"], &firmware)
}

func writeKernel(t packages.Tree, dir string) error {
	m, err := initramfs.ChooseModules(t, initramfs.Wanted)
	if err != nil {
		return err
	}
	kernel, ok := t["boot/vmlinuz-"+m.Release]
	if !ok {
		return fmt.Errorf("the kernel package holds no vmlinuz-%s", m.Release)
	}
	archive, err := initramfs.Pack(m.Entries)
	if err != nil {
		return err
	}
	var modules bytes.Buffer
	if err := initramfs.Compress(&modules, archive); err != nil {
		return err
	}
	microcode, err := initramfs.Microcode(t)
	if err != nil {
		return err
	}
	firmware, err := json.Marshal(m.Firmware)
	if err != nil {
		return err
	}
	return writeAll(dir, map[string][]byte{"vmlinuz": kernel.Data, "release": []byte(m.Release),
		"modules": modules.Bytes(), "microcode": microcode, "firmware.json": firmware})
}

func writeAll(dir string, all map[string][]byte) error {
	for name, data := range all {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

func (b *builder) userland(ctx context.Context, p *parts, firmware []string) error {
	want := func(p packages.Package) bool { return !begins(p.Name, kernelPackages) }
	dir, err := b.stage("userland", append(b.sums(want), firmware...), func(dir string) error {
		t, err := b.tree(ctx, want, func(f string) bool { return !strings.HasPrefix(f, "usr/share/doc/") })
		if err != nil {
			return err
		}
		paths, err := userland.Choose(t, firmware)
		if err != nil {
			return err
		}
		work, err := os.MkdirTemp(dir, "tool-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(work)
		b.say("userland: %d files, being packed", len(paths))
		if err := userland.Pack(ctx, t, paths, t, work, filepath.Join(dir, "usr.squashfs")); err != nil {
			return err
		}
		return writeAll(dir, map[string][]byte{"mke2fs.conf": t["etc/mke2fs.conf"].Data,
			"files": []byte(strings.Join(paths, "\n") + "\n")})
	})
	if err != nil {
		return err
	}
	f, err := files(dir, "usr.squashfs", "mke2fs.conf", "files")
	p.Userland, p.Mke2fs = f["usr.squashfs"], f["mke2fs.conf"]
	if err != nil {
		return err
	}
	b.lacks(p.Microcode, userland.Missing(strings.Fields(string(f["files"])), firmware))
	return nil
}

// lacks warns of what the packages do not hold: a server may need it, and nothing but
// its kernel's log would tell.
func (b *builder) lacks(microcode []byte, firmware []string) {
	for _, maker := range []string{"AuthenticAMD.bin", "GenuineIntel.bin"} {
		if !bytes.Contains(microcode, []byte("kernel/x86/microcode/"+maker+"\x00")) {
			b.say("WARNING: the packages hold no microcode %s: processors run uncorrected", maker)
		}
	}
	if len(firmware) > 0 {
		b.say("WARNING: firmware that modules may ask for and no package holds: %s", strings.Join(firmware, " "))
	}
}

func (b *builder) recovery(ctx context.Context, p *parts) error {
	module := filepath.Join(b.Source, "image", "initramfs", "recovery")
	f, err := files(module, "go.mod", "go.sum")
	if err != nil {
		return err
	}
	goVersion, err := exec.CommandContext(ctx, "go", "env", "GOVERSION").Output()
	if err != nil {
		return fmt.Errorf("go env: %w", err)
	}
	dir, err := b.stage("recovery", []string{hash(f["go.mod"]), hash(f["go.sum"]), string(goVersion), runtime.GOARCH}, func(dir string) error {
		work, err := os.MkdirTemp(dir, "work-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(work)
		bb, err := initramfs.BuildRecovery(ctx, module, work)
		if err != nil {
			return err
		}
		return writeAll(dir, map[string][]byte{"bb": bb})
	})
	if err != nil {
		return err
	}
	f, err = files(dir, "bb")
	p.Recovery = f["bb"]
	return err
}

// programs builds ours, static and without a trace of this machine.
func (b *builder) programs(ctx context.Context, p *parts) error {
	b.say("programs: being built")
	dir, err := os.MkdirTemp(b.Cache, "programs-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -buildid=",
		"-o", dir+"/", "./cmd/pid1", "./cmd/beffroi", "./cmd/beffroictl")
	cmd.Dir = b.Source
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64", "GOAMD64=v1", "GOFLAGS=", "GOWORK=off")
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("programs: %w: %s", err, text)
	}
	f, err := files(dir, "pid1", "beffroi", "beffroictl")
	p.Init, p.Beffroi, p.Control = f["pid1"], f["beffroi"], f["beffroictl"]
	return err
}

func (b *builder) loader(ctx context.Context, p *parts) error {
	t, err := b.tree(ctx, func(p packages.Package) bool { return p.Name == "systemd-boot-efi" }, nil)
	if err != nil {
		return err
	}
	p.Loader = t["usr/lib/systemd/boot/efi/systemd-bootx64.efi"].Data
	p.Stub = t["usr/lib/systemd/boot/efi/linuxx64.efi.stub"].Data
	if len(p.Loader) == 0 || len(p.Stub) == 0 {
		return errors.New("package systemd-boot-efi holds no loader or no stub")
	}
	return nil
}
