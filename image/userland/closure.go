package userland

import (
	"bytes"
	"debug/elf"
	"fmt"
	"path"
	"slices"
	"sort"
	"strings"

	"beffroi.dev/image/packages"
)

const libraries = "usr/lib/x86_64-linux-gnu"

// programs are what the appliance runs; their libraries follow.
var programs = []string{
	"usr/bin/qemu-system-x86_64", "usr/bin/qemu-img",
	libraries + "/qemu/accel-tcg-x86_64.so",
	"usr/sbin/mkfs.ext4", "usr/sbin/mke2fs", "usr/sbin/e2fsck", "usr/sbin/fsck.ext4", "usr/sbin/resize2fs", "usr/sbin/tune2fs",
}

// folders are taken with all they hold.
var folders = []string{"usr/share/seabios", "usr/share/qemu/keymaps"}

// files are guests' firmware.
var files = []string{
	"usr/share/OVMF/OVMF_CODE_4M.fd", "usr/share/OVMF/OVMF_VARS_4M.fd",
	"usr/share/qemu/kvmvapic.bin", "usr/share/qemu/linuxboot.bin", "usr/share/qemu/linuxboot_dma.bin",
	"usr/share/qemu/multiboot.bin", "usr/share/qemu/multiboot_dma.bin", "usr/share/qemu/pvh.bin",
	"usr/lib/ipxe/qemu/efi-virtio.rom", // BIOS too, in one file
	"usr/share/qemu/qboot.rom", "usr/share/qemu/bios-microvm.bin",
}

// Choose returns the paths of what goes below /usr; firmware names files that the
// kernel's modules may ask for, taken if the packages hold them.
func Choose(t packages.Tree, firmware []string) ([]string, error) {
	chosen := map[string]bool{}
	for _, p := range append(append([]string{}, programs...), files...) {
		if err := addFile(t, p, chosen); err != nil {
			return nil, err
		}
	}
	for _, f := range folders {
		for _, p := range t.Below(f) {
			if err := addFile(t, p, chosen); err != nil {
				return nil, err
			}
		}
	}
	for _, f := range firmware {
		p := "usr/lib/firmware/" + f
		if strings.Contains(f, "*") {
			for _, q := range t.Below(path.Dir(p)) {
				if ok, _ := path.Match(p, q); ok {
					chosen[q] = true
				}
			}
			continue
		}
		if _, ok := t[p]; ok {
			if err := addFile(t, p, chosen); err != nil {
				return nil, err
			}
		}
	}
	all := make([]string, 0, len(chosen))
	for p := range chosen {
		all = append(all, p)
	}
	sort.Strings(all)
	return all, nil
}

// Missing are the files of firmware that a kernel's modules may ask for and that are
// not among the chosen paths. A module often knows the files of many cards, and most
// work without; those who build have to see which ones do not come along.
func Missing(chosen, firmware []string) []string {
	var all []string
	for _, f := range firmware {
		if !slices.ContainsFunc(chosen, func(p string) bool {
			ok, _ := path.Match("usr/lib/firmware/"+f, p)
			return ok
		}) {
			all = append(all, f)
		}
	}
	return all
}

// Closure returns the paths that programs need: themselves, links on the way, the
// loader and all libraries.
func Closure(t packages.Tree, programs ...string) ([]string, error) {
	chosen := map[string]bool{}
	for _, p := range programs {
		if err := addFile(t, p, chosen); err != nil {
			return nil, err
		}
	}
	all := make([]string, 0, len(chosen))
	for p := range chosen {
		all = append(all, p)
	}
	sort.Strings(all)
	return all, nil
}

func addFile(t packages.Tree, p string, chosen map[string]bool) error {
	way, err := t.Resolve(p)
	if err != nil {
		return fmt.Errorf("userland: %w", err)
	}
	file := way[len(way)-1]
	seen := chosen[file]
	for _, w := range way {
		chosen[w] = true
	}
	if seen || !bytes.HasPrefix(t[file].Data, []byte("\x7fELF")) {
		return nil
	}
	needs, err := needed(t[file].Data)
	if err != nil {
		return fmt.Errorf("userland: %s: %w", file, err)
	}
	for _, n := range needs {
		if err := addFile(t, n, chosen); err != nil {
			return fmt.Errorf("%w, needed by %s", err, file)
		}
	}
	return nil
}

// needed are the paths of the libraries and of the loader that an ELF file names.
func needed(data []byte) ([]string, error) {
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil || f.Machine != elf.EM_X86_64 {
		return nil, err // firmware of other machines needs nothing of ours
	}
	names, err := f.ImportedLibraries()
	if err != nil {
		return nil, err
	}
	var all []string
	for _, n := range names {
		if strings.HasPrefix(n, "ld-linux") {
			n = "usr/lib64/" + n
		} else {
			n = libraries + "/" + n
		}
		all = append(all, n)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			b := make([]byte, p.Filesz)
			if _, err := p.ReadAt(b, 0); err != nil {
				return nil, err
			}
			all = append(all, "usr"+string(bytes.TrimRight(b, "\x00")))
		}
	}
	return all, nil
}
