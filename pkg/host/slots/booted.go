package slots

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf16"
)

// Variables is where the kernel shows the firmware's variables.
const Variables = "/sys/firmware/efi/efivars"

// loader is the vendor of the variables that the boot loader sets (Boot Loader
// Interface).
const loader = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"

// maxVariable is more than any path that the loader tells.
const maxVariable = 4096

// Folder of the entries on the EFI system partition.
const Folder = "EFI/Linux"

// Booted tells the entry that runs, if it is on trial. A blessed one, or a machine
// without such variables, gives the zero Entry. Variables is a folder.
func Booted(variables string) (Entry, error) {
	f, err := os.Open(filepath.Join(variables, "LoaderBootCountPath-"+loader))
	if errors.Is(err, fs.ErrNotExist) {
		return Entry{}, nil
	}
	if err != nil {
		return Entry{}, fmt.Errorf("the entry that was booted: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxVariable))
	if err != nil {
		return Entry{}, fmt.Errorf("the entry that was booted: %w", err)
	}
	path, err := text(b)
	if err != nil {
		return Entry{}, fmt.Errorf("the entry that was booted: %w", err)
	}
	e, err := Parse(path[strings.LastIndexAny(path, `\/`)+1:])
	if err != nil {
		return Entry{}, fmt.Errorf("the entry that was booted: %w", err)
	}
	return e, nil
}

// text reads a variable as efivarfs shows it:
//
//	offset  size  field
//	0       4     attributes
//	4             UTF-16, little-endian, ended by a zero
func text(b []byte) (string, error) {
	if len(b) < 6 || len(b)%2 != 0 {
		return "", fmt.Errorf("a variable of %d bytes", len(b))
	}
	var units []uint16
	for b = b[4:]; len(b) > 0; b = b[2:] {
		u := binary.LittleEndian.Uint16(b)
		if u == 0 {
			return string(utf16.Decode(units)), nil
		}
		units = append(units, u)
	}
	return "", errors.New("a text without an end")
}
