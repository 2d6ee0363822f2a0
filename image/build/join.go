package build

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"

	"beffroi.dev/image/esp"
	"beffroi.dev/image/initramfs"
	"beffroi.dev/pkg/host/layout"
	"beffroi.dev/pkg/host/uki"
)

// tries is how often the loader starts an image that was never found good.
const tries = 3

const loaderConf = "timeout 0\neditor no\nauto-entries no\nauto-firmware no\n"

// join makes the image of its parts, signs it and describes it.
func (b *builder) join(p parts) error {
	key, err := b.key()
	if err != nil {
		return err
	}
	initrd, sizes, err := b.initrd(p)
	if err != nil {
		return err
	}
	image, err := uki.Build(p.Stub, []uki.Part{
		{Name: ".osrel", Data: initramfs.OSRelease(b.Version, b.Built)},
		{Name: ".cmdline", Data: []byte(CommandLine)},
		{Name: ".uname", Data: p.Release},
		{Name: ".initrd", Data: initrd},
		// The kernel last: it is unpacked where it lies, and must not run into others.
		{Name: ".linux", Data: p.Kernel},
	})
	if err != nil {
		return err
	}
	b.say("joining and signing")
	if image, err = uki.Sign(image, key); err != nil {
		return err
	}
	loader, err := uki.Sign(p.Loader, key)
	if err != nil {
		return err
	}
	if err := b.disk(image, loader); err != nil {
		return err
	}
	sizes = append(sizes, part{"kernel", p.Kernel}, part{"stub", p.Stub})
	if err := b.describe(p, sizes, image, loader); err != nil {
		return err
	}
	if len(image) > MaxUKI {
		return fmt.Errorf("the kernel image has %d bytes, at most %d are allowed", len(image), MaxUKI)
	}
	b.say("done: %s", filepath.Join(b.Out, "beffroi.img"))
	return nil
}

// part is a piece of the kernel image, for the report.
type part struct {
	name string
	data []byte
}

// initrd is the chain of archives.
func (b *builder) initrd(p parts) ([]byte, []part, error) {
	user, err := initramfs.Pack([]initramfs.Entry{initramfs.File("usr.squashfs", p.Userland)})
	if err != nil {
		return nil, nil, err
	}
	b.say("packing the programs")
	ours, err := compressed(initramfs.Skeleton(initramfs.Programs{Init: p.Init, Beffroi: p.Beffroi, Beffroictl: p.Control, Recovery: p.Recovery},
		initramfs.OSRelease(b.Version, b.Built), p.Mke2fs))
	if err != nil {
		return nil, nil, err
	}
	pieces := []part{{"microcode", p.Microcode}, {"userland", user}, {"modules", p.Modules}, {"programs", ours}}
	var all bytes.Buffer
	for _, piece := range pieces {
		all.Write(piece.data)
	}
	return all.Bytes(), pieces, nil
}

func compressed(entries []initramfs.Entry) ([]byte, error) {
	archive, err := initramfs.Pack(entries)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err = initramfs.Compress(&out, archive)
	return out.Bytes(), err
}

// UKIName is the name of a kernel image that was never started.
func UKIName(version string) string { return fmt.Sprintf("beffroi_%s+%d.efi", version, tries) }

// disk writes the image; what stays zero takes no room.
func (b *builder) disk(image, loader []byte) (err error) {
	table, err := layout.Default(b.Version).Plan()
	if err != nil {
		return err
	}
	at, _ := table.Find(layout.TypeESP)
	file := filepath.Join(b.Out, "beffroi.img")
	tmp := file + ".part"
	f, err := os.Create(tmp)
	if err != nil {
		return err
	}
	defer func() {
		if e := f.Close(); err == nil {
			err = e
		}
		if err == nil {
			err = os.Rename(tmp, file)
		}
	}()
	if err := f.Truncate(table.Bytes()); err != nil {
		return err
	}
	c := esp.Config{Offset: at.Offset(), Size: at.Size(), Label: "BEFFROI", Serial: binary.LittleEndian.Uint32(table.Disk[:4])}
	if err := esp.Write(f, c, []esp.File{
		{Path: "EFI/BOOT/BOOTX64.EFI", Data: loader},
		{Path: "EFI/systemd/systemd-bootx64.efi", Data: loader},
		{Path: "EFI/Linux/" + UKIName(b.Version), Data: image},
		{Path: "loader/loader.conf", Data: []byte(loaderConf)},
		{Path: "loader/entries.srel", Data: []byte("type1\n")},
	}); err != nil {
		return err
	}
	return table.Write(f)
}
