package slots

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// ErrGone is returned for an entry that is on the partition under no name.
var ErrGone = errors.New("the entry that was booted is not on the EFI system partition")

// Bless ends the trial of an entry. Root is where the EFI system partition is
// mounted. An entry that is blessed already stays so.
func Bless(root string, e Entry) error {
	from, to := filepath.Join(root, Folder, e.Name()), filepath.Join(root, Folder, e.Blessed().Name())
	err := os.Rename(from, to)
	if errors.Is(err, fs.ErrNotExist) {
		if _, there := os.Stat(to); there == nil {
			return nil
		}
		return fmt.Errorf("bless %s: %w", e.Name(), ErrGone)
	}
	if err != nil {
		return fmt.Errorf("bless %s: %w", e.Name(), err)
	}
	d, err := os.Open(filepath.Dir(to))
	if err != nil {
		return fmt.Errorf("bless %s: %w", e.Name(), err)
	}
	defer d.Close()
	if err := unix.Syncfs(int(d.Fd())); err != nil {
		return fmt.Errorf("bless %s: %w", e.Name(), err)
	}
	return nil
}
