package guests

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"beffroi.dev/pkg/ident"
)

// recordVersion is the version of placed.json. History:
//
//	1  first
const recordVersion = 1

// record is placed.json in a machine's folder. It is written before QEMU starts,
// and synced: that a generation was used up must not be forgotten.
type record struct {
	Version    int      `json:"version"`
	VM         ident.VM `json:"vm"`
	Generation uint64   `json:"generation"`
	Accel      string   `json:"accel"`
}

func recordPath(folder string) string { return filepath.Join(folder, "placed.json") }

// loadRecord reads a record; ok is false where there is none.
func loadRecord(folder string) (r record, ok bool, err error) {
	b, err := os.ReadFile(recordPath(folder))
	if errors.Is(err, os.ErrNotExist) {
		return record{}, false, nil
	}
	if err != nil {
		return record{}, false, fmt.Errorf("read placement: %w", err)
	}
	if r, err = decodeRecord(b); err != nil {
		return record{}, false, fmt.Errorf("placement %s: %w", recordPath(folder), err)
	}
	return r, true, nil
}

func decodeRecord(b []byte) (record, error) {
	var r record
	if err := json.Unmarshal(b, &r); err != nil {
		return record{}, err
	}
	if r.Version != recordVersion {
		return record{}, fmt.Errorf("version %d, this program reads %d", r.Version, recordVersion)
	}
	if r.VM == 0 || r.Generation == 0 {
		return record{}, errors.New("it names no VM or no generation")
	}
	return r, nil
}

func (r record) save(folder string) error {
	r.Version = recordVersion
	b, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("write placement: %w", err)
	}
	path := recordPath(folder)
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("write placement: %w", err)
	}
	_, err = f.Write(append(b, '\n'))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write placement: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("write placement: %w", err)
	}
	dir, err := os.Open(folder)
	if err != nil {
		return fmt.Errorf("write placement: %w", err)
	}
	if err := errors.Join(dir.Sync(), dir.Close()); err != nil {
		return fmt.Errorf("write placement: %w", err)
	}
	return nil
}
