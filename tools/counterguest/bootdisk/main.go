// Bootdisk writes a raw disk image that boots a kernel on a BIOS, so that guests
// which nobody here wrote (an installer, a memory test) can run from a volume.
//
//	bootdisk -kernel FILE [-initrd FILE] [-append WORDS] -o FILE
//
// The image is a boot sector, the kernel in two parts, its command line and the
// initial file system, one after the other from sector 8; its size is rounded up to
// 1 MiB. The guest needs 128 MiB of memory more than its initial file system.
package main

import (
	"bytes"
	_ "embed"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"os"
)

//go:embed boot.bin
var boot []byte

const (
	sector      = 512
	tableOffset = 0x180 // in the boot sector
	firstSector = 8

	// Where things are loaded, as Linux' boot protocol has them. The initial file
	// system lies above what a kernel needs to unpack itself.
	setupAddress   = 0x90000
	commandAddress = 0x9e000
	kernelAddress  = 0x100000
	initrdAddress  = 0x8000000

	maxCommand = 1024
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bootdisk:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	flags := flag.NewFlagSet("bootdisk", flag.ContinueOnError)
	kernel := flags.String("kernel", "", "a kernel with a Linux boot header")
	initrd := flags.String("initrd", "", "its initial file system")
	words := flags.String("append", "", "its command line")
	target := flags.String("o", "", "write the image to this file")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *kernel == "" || *target == "" {
		return errors.New("use -kernel FILE and -o FILE, at least")
	}
	k, err := os.ReadFile(*kernel)
	if err != nil {
		return err
	}
	var i []byte
	if *initrd != "" {
		if i, err = os.ReadFile(*initrd); err != nil {
			return err
		}
	}
	image, err := build(k, i, *words)
	if err != nil {
		return fmt.Errorf("%s: %w", *kernel, err)
	}
	return os.WriteFile(*target, image, 0o644)
}

// build lays the image out.
func build(kernel, initrd []byte, command string) ([]byte, error) {
	if len(kernel) < 0x264 || string(kernel[0x202:0x206]) != "HdrS" || binary.LittleEndian.Uint16(kernel[0x206:]) < 0x202 {
		return nil, errors.New("no Linux boot header of version 2.02 or later")
	}
	if kernel[0x211]&1 == 0 {
		return nil, errors.New("the kernel wants to be loaded low, which is not supported")
	}
	if len(command) >= maxCommand {
		return nil, fmt.Errorf("a command line of %d bytes: at most %d are allowed", len(command), maxCommand-1)
	}
	setupSectors := int(kernel[0x1f1])
	if setupSectors == 0 {
		setupSectors = 4 // as the protocol has it
	}
	cut := (setupSectors + 1) * sector
	if cut > commandAddress-setupAddress-0x1000 || cut > len(kernel) {
		return nil, fmt.Errorf("%d setup sectors", setupSectors)
	}
	setup := bytes.Clone(kernel[:cut])
	setup[0x210] = 0xff                                  // a loader without a number
	setup[0x211] |= 0x80                                 // the heap may be used
	binary.LittleEndian.PutUint16(setup[0x224:], 0xdc00) // up to here, from setup
	binary.LittleEndian.PutUint32(setup[0x228:], commandAddress)
	if len(initrd) > 0 {
		binary.LittleEndian.PutUint32(setup[0x218:], initrdAddress)
		binary.LittleEndian.PutUint32(setup[0x21c:], uint32(len(initrd)))
	}
	image := make([]byte, firstSector*sector)
	copy(image, boot)
	pieces := []struct {
		data    []byte
		address uint32
	}{{setup, setupAddress}, {kernel[cut:], kernelAddress}, {append([]byte(command), 0), commandAddress}, {initrd, initrdAddress}}
	for n, p := range pieces {
		entry := image[tableOffset+12*n:]
		binary.LittleEndian.PutUint32(entry, uint32(len(image)/sector))
		binary.LittleEndian.PutUint32(entry[4:], uint32((len(p.data)+sector-1)/sector))
		binary.LittleEndian.PutUint32(entry[8:], p.address)
		image = pad(append(image, p.data...), sector)
	}
	image = pad(image, 1<<20)
	binary.LittleEndian.PutUint32(image[446+12:], uint32(len(image)/sector-firstSector))
	return image, nil
}

func pad(b []byte, unit int) []byte {
	return append(b, make([]byte, (unit-len(b)%unit)%unit)...)
}
