package build

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// MaxIdle is what a node that does nothing may take of its memory, bytes, and MaxReady
// how long two emulated nodes may take from power-on until they serve. MaxRebuild is what
// a build after a changed line of ours may take.
const (
	MaxIdle    = 450_000_000
	MaxReady   = 90 * time.Second
	MaxRebuild = 60 * time.Second
)

// Measured is the last measurement of an image that ran, kept beside it.
type Measured struct {
	At        time.Time `json:"at"`
	Image     string    `json:"image_sha256"`
	Profile   string    `json:"machine"` // what it was measured on
	IdleBytes int64     `json:"idle_bytes"`
	Ready     float64   `json:"ready_seconds"` // power-on of both nodes to a pair that serves
}

// measuredFile is its name beside the image.
const measuredFile = "measured.json"

// Save keeps a measurement in the image's folder.
func (m Measured) Save(folder string) error {
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(folder, measuredFile), append(b, '\n'), 0o644)
}

// memory prints the last measurement, and whether it is that of this image: only a node
// that runs can tell.
func (b *builder) memory(sum string) {
	text, err := os.ReadFile(filepath.Join(b.Out, measuredFile))
	var m Measured
	switch {
	case err != nil || json.Unmarshal(text, &m) != nil || m.IdleBytes <= 0:
		fmt.Fprintf(b.log, "idle memory: not measured yet, at most %d MB (make bench measures it)\n", MaxIdle/1_000_000)
		return
	case m.Image == sum:
		fmt.Fprintf(b.log, "idle memory: %d MB of at most %d", m.IdleBytes/1_000_000, MaxIdle/1_000_000)
	default:
		fmt.Fprintf(b.log, "idle memory of an earlier image: %d MB of at most %d (make bench measures this one)", m.IdleBytes/1_000_000, MaxIdle/1_000_000)
	}
	fmt.Fprintf(b.log, ", measured %s\n", m.At.Format("2006-01-02 15:04"))
}
