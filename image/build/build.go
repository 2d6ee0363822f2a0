package build

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"beffroi.dev/image/esp"
	"beffroi.dev/image/initramfs"
	"beffroi.dev/image/packages"
	"beffroi.dev/pkg/host/layout"
	"beffroi.dev/pkg/host/uki"
)

// job is one build.
type job struct {
	Config
	progress
	lock  packages.Lock
	built int64
	parts []part // for the manifest
}

// part is something that the image is made of.
type part struct {
	name string
	data []byte
}

func (j *job) note(name string, data []byte) { j.parts = append(j.parts, part{name, data}) }

// Run builds an image and says on w what it is doing.
func Run(ctx context.Context, c Config, w io.Writer) error {
	j := &job{Config: c, progress: progress{w, time.Now()}}
	if err := c.Validate(); err != nil {
		return err
	}
	var err error
	if j.lock, err = packages.Load(c.Lock); err != nil {
		return err
	}
	if j.built, err = c.builtAt(ctx); err != nil {
		return err
	}
	key, err := j.key()
	if err != nil {
		return err
	}
	b, err := j.base(ctx)
	if err != nil {
		return err
	}
	programs, err := j.programs(ctx)
	if err != nil {
		return err
	}
	kernel, err := j.kernelImage(b, programs)
	if err != nil {
		return err
	}
	files, err := j.signed(key, kernel, b[partLoader])
	if err != nil {
		return err
	}
	if err := j.disk(files); err != nil {
		return err
	}
	if err := j.papers(programs); err != nil {
		return err
	}
	j.say("done")
	return nil
}

// kernelImage joins kernel, command line and initial file system behind the stub.
func (j *job) kernelImage(b base, p initramfs.Programs) ([]byte, error) {
	j.say("initial file system")
	release := initramfs.OSRelease(j.Version, j.built)
	root, err := initramfs.Pack(initramfs.Skeleton(p, release, b[partMke2fs]))
	if err != nil {
		return nil, err
	}
	var ours bytes.Buffer
	if err := initramfs.Compress(&ours, root); err != nil {
		return nil, err
	}
	initrd := bytes.Join([][]byte{b[partMicrocode], b[partUserland], b[partModules], ours.Bytes()}, nil)
	parts := []uki.Part{
		{Name: ".osrel", Data: release},
		{Name: ".cmdline", Data: append([]byte(cmdline), 0)},
		{Name: ".uname", Data: b[partRelease]},
		{Name: ".linux", Data: b[partLinux]},
		{Name: ".initrd", Data: initrd},
	}
	image, err := uki.Build(b[partStub], parts)
	if err != nil {
		return nil, err
	}
	j.note("linux", b[partLinux])
	j.note("microcode", b[partMicrocode])
	j.note("userland", b[partUserland])
	j.note("modules", b[partModules])
	j.note("programs", ours.Bytes())
	for _, p := range j.parts {
		j.say("  %-10s %6.1f MB", p.name, mega(len(p.data)))
	}
	j.say("kernel image %.1f MB of at most %.0f MB", mega(len(image)), mega(MaxKernelImage))
	if len(image) > MaxKernelImage {
		return nil, fmt.Errorf("build: the kernel image has %d bytes, more than %d", len(image), MaxKernelImage)
	}
	return image, nil
}

func mega(n int) float64 { return float64(n) / 1e6 }

// signed are the files of the ESP.
func (j *job) signed(key uki.Key, kernel, loader []byte) ([]esp.File, error) {
	loader, err := uki.Sign(loader, key)
	if err != nil {
		return nil, fmt.Errorf("sign the loader: %w", err)
	}
	if kernel, err = uki.Sign(kernel, key); err != nil {
		return nil, fmt.Errorf("sign the kernel image: %w", err)
	}
	j.note("loader", loader)
	name := fmt.Sprintf("beffroi_%s+%d.efi", j.Version, tries)
	j.note(name, kernel)
	// Updates of nodes need the kernel image by itself.
	if err := replace(filepath.Join(j.Out, "beffroi_"+j.Version+".efi"), kernel); err != nil {
		return nil, err
	}
	return []esp.File{
		{Path: "EFI/BOOT/BOOTX64.EFI", Data: loader},
		{Path: "EFI/systemd/systemd-bootx64.efi", Data: loader},
		{Path: "EFI/Linux/" + name, Data: kernel},
		{Path: "loader/loader.conf", Data: []byte("timeout 0\neditor no\n")},
	}, nil
}

// disk writes the image: a table, the ESP, and holes.
func (j *job) disk(files []esp.File) error {
	j.say("disk image")
	conf := layout.Default(j.Version)
	table, err := conf.Plan()
	if err != nil {
		return err
	}
	name := filepath.Join(j.Out, "beffroi.img")
	f, err := os.Create(name + ".part")
	if err != nil {
		return fmt.Errorf("build: %w", err)
	}
	defer f.Close()
	if err := f.Truncate(table.Bytes()); err != nil {
		return fmt.Errorf("build: %w", err)
	}
	if err := table.Write(f); err != nil {
		return err
	}
	p, _ := table.Find(layout.TypeESP)
	serial := uint32(p.ID[0])<<24 | uint32(p.ID[1])<<16 | uint32(p.ID[2])<<8 | uint32(p.ID[3])
	if err := esp.Write(f, esp.Config{Offset: p.Offset(), Size: p.Size(), Label: "BEFFROI", Serial: serial}, files); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("build: %w", err)
	}
	if err := os.Rename(name+".part", name); err != nil {
		return fmt.Errorf("build: %w", err)
	}
	j.say("%s: %d MiB, UEFI", name, table.Bytes()>>20)
	return nil
}

// replace writes a file in one step.
func replace(name string, data []byte) error {
	if err := os.WriteFile(name+".part", data, 0o644); err != nil {
		return fmt.Errorf("build: %w", err)
	}
	if err := os.Rename(name+".part", name); err != nil {
		return fmt.Errorf("build: %w", err)
	}
	return nil
}
