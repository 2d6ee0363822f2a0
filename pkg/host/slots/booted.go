package slots

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf16"
)

// Variables is where the kernel shows the firmware's variables.
const Variables = "/sys/firmware/efi/efivars"

// loader is the vendor of the variables that the boot loader sets (Boot Loader
// Interface).
const loader = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"

// What is more than the loader tells: bytes of a variable, entries of a machine.
const (
	maxVariable = 1 << 14
	maxEntries  = 64
)

// Folder of the entries on the EFI system partition.
const Folder = "EFI/Linux"

// Booted tells the entry that runs, if it is on trial. A blessed one, or a machine
// without such variables, gives the zero Entry. Variables is a folder.
func Booted(variables string) (Entry, error) {
	names, err := read(variables, "LoaderBootCountPath", 1)
	if err != nil || names == nil {
		return Entry{}, err
	}
	e, err := Parse(names[0][strings.LastIndexAny(names[0], `\/`)+1:])
	if err != nil {
		return Entry{}, fmt.Errorf("the entry that was booted: %w", err)
	}
	return e, nil
}

// Another reports whether the loader found an entry of another version that has not used
// up its own tries: it starts that when this one has none left.
func Another(variables string, than Entry) (bool, error) {
	names, err := read(variables, "LoaderEntries", maxEntries)
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(names, func(name string) bool { // not all are ours: the loader adds some of its own
		e, err := Parse(name)
		return err == nil && e.Version != than.Version && (!e.Trial || e.Left > 0)
	}), nil
}

// read returns the texts of a variable of the loader's; none when there is no such
// variable.
func read(variables, name string, most int) ([]string, error) {
	f, err := os.Open(filepath.Join(variables, name+"-"+loader))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("what the boot loader tells: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxVariable))
	if err != nil {
		return nil, fmt.Errorf("what the boot loader tells: %w", err)
	}
	all, err := texts(b, most)
	if err != nil {
		return nil, fmt.Errorf("what the boot loader tells in %s: %w", name, err)
	}
	return all, nil
}

// texts reads a variable as efivarfs shows it; there is at least one text, and what
// follows the last one that is wanted is ignored:
//
//	offset  size  field
//	0       4     attributes
//	4             texts in UTF-16, little-endian, each ended by a zero
func texts(b []byte, most int) (all []string, err error) {
	if len(b) < 6 || len(b)%2 != 0 {
		return nil, fmt.Errorf("a variable of %d bytes", len(b))
	}
	var units []uint16
	for b = b[4:]; len(b) > 0 && len(all) < most; b = b[2:] {
		u := binary.LittleEndian.Uint16(b)
		if u != 0 {
			units = append(units, u)
			continue
		}
		all, units = append(all, string(utf16.Decode(units))), nil
	}
	if len(units) > 0 {
		return nil, errors.New("a text without an end")
	}
	return all, nil
}
