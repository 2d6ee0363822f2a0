package vmpair

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"time"
)

// nodeMemory is what a node of the lab has, bytes.
const nodeMemory = 2048 << 20

// Memory is what a node's memory holds, bytes.
type Memory struct {
	RAM       int64 // in the machine
	Total     int64 // that the kernel shares out: without itself and its tables
	Available int64 // for more, without swapping
}

// Platform is what the appliance itself takes: kernel, image in memory, services.
func (m Memory) Platform() int64 { return m.RAM - m.Available }

// String tells where it goes.
func (m Memory) String() string {
	return fmt.Sprintf("%d MB: kernel and its tables %d MB, image in memory and services %d MB; %d of %d MB are free for guests",
		m.Platform()/1e6, (m.RAM-m.Total)/1e6, (m.Total-m.Available)/1e6, m.Available/1e6, m.RAM/1e6)
}

var meminfo = regexp.MustCompile(`(MemTotal|MemAvailable): +(\d+) kB`)

// Memory asks a node's kernel, through the rescue shell, which is counted too.
func (p *Pair) Memory(ctx context.Context, node string) (Memory, error) {
	m := Memory{RAM: nodeMemory}
	s, err := p.Shell(ctx, node)
	if err != nil {
		return m, err
	}
	out, err := s.Must(ctx, "cat /proc/meminfo")
	if err != nil {
		return m, err
	}
	for _, f := range meminfo.FindAllStringSubmatch(out, -1) {
		n, err := strconv.ParseInt(f[2], 10, 64)
		if err != nil {
			return m, err
		}
		if n *= 1024; f[1] == "MemTotal" {
			m.Total = n
		} else {
			m.Available = n
		}
	}
	if m.Total == 0 || m.Available == 0 {
		return m, fmt.Errorf("node %s tells nothing of its memory: %.200q", node, out)
	}
	return m, s.Leave(ctx)
}

// Measured is the last measurement of an image, kept beside it; make image shows it.
type Measured struct {
	At        time.Time `json:"at"`
	Image     string    `json:"image_sha256"`
	Profile   string    `json:"machine"` // what it was measured on
	IdleBytes int64     `json:"idle_bytes"`
	Ready     float64   `json:"ready_seconds"` // power-on of both nodes to a pair that serves
}

// MeasuredFile is its name beside the image.
const MeasuredFile = "measured.json"

// Save keeps a measurement in the image's folder.
func (m Measured) Save(folder string) error {
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(folder, MeasuredFile), append(b, '\n'), 0o644)
}
