package status

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
)

// maxFile bounds what is read of a file that init writes for the node service.
const maxFile = 64 << 10

// envelope is such a file: a version, and its content.
type envelope[T any] struct {
	Version int `json:"version"`
	Content T   `json:"content"`
}

// save writes a file whole. It is in memory and need not be synced.
func save[T any](path, what string, version int, content T) error {
	b, err := json.Marshal(envelope[T]{version, content})
	if err != nil {
		return fmt.Errorf("save %s: %w", what, err)
	}
	if err := os.WriteFile(path+".new", b, 0o644); err != nil {
		return fmt.Errorf("save %s: %w", what, err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("save %s: %w", what, err)
	}
	return nil
}

func load[T any](path, what string, version int) (T, error) {
	var e envelope[T]
	f, err := os.Open(path)
	if err != nil {
		return e.Content, fmt.Errorf("load %s: %w", what, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		return e.Content, fmt.Errorf("load %s: %w", what, err)
	}
	if err := json.Unmarshal(b, &e); err != nil {
		return e.Content, fmt.Errorf("load %s: %w", what, err)
	}
	if e.Version != version {
		var none T
		return none, fmt.Errorf("load %s: version %d, this one reads %d", what, e.Version, version)
	}
	return e.Content, nil
}
