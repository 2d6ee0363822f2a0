package vmpair

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
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
