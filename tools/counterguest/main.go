// Counterguest writes the disk image of a small guest that counts.
//
//	counterguest -o FILE     write the image (1 MiB, raw)
//	counterguest -show FILE  print the counter that a disk or image holds
//
// The guest boots on SeaBIOS from its first disk in less than a second, counts
// on that disk and prints each number on the serial line once it is durable.
// README.md has the layout.
package main

import (
	"bytes"
	_ "embed"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
)

//go:embed boot.bin
var boot []byte

const (
	imageSize   = 1 << 20
	blockOffset = 4096 // of the counter, bytes
)

var magic = []byte("BFCOUNT1")

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "counterguest:", err)
		os.Exit(1)
	}
}

func run(args []string, out io.Writer) error {
	flags := flag.NewFlagSet("counterguest", flag.ContinueOnError)
	target := flags.String("o", "", "write the image to this file")
	source := flags.String("show", "", "print the counter of this disk")
	if err := flags.Parse(args); err != nil {
		return err
	}
	switch {
	case *target != "" && *source == "":
		return os.WriteFile(*target, append(bytes.Clone(boot), make([]byte, imageSize-len(boot))...), 0o644)
	case *source != "" && *target == "":
		n, err := counter(*source)
		if err == nil {
			_, err = fmt.Fprintln(out, n)
		}
		return err
	}
	return errors.New("use -o FILE to write an image, or -show FILE to read a counter")
}

// counter reads the counter from a disk; 0 from one that never counted.
func counter(path string) (uint32, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	b := make([]byte, 12)
	if _, err := f.ReadAt(b, blockOffset); err != nil {
		return 0, fmt.Errorf("read counter: %w", err)
	}
	if !bytes.Equal(b[:8], magic) {
		return 0, nil
	}
	return binary.LittleEndian.Uint32(b[8:]), nil
}
