// Package history keeps what clients saw of the blocks of a disk, and holds it
// against what one disk could have done.
package history

import (
	"encoding/binary"
	"fmt"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"

	"beffroi.dev/pkg/disk"
)

// sector is what no disk may tear, bytes. A block repeats its value in each.
const sector = 512

// Fill makes the content of a block that stands for a value.
func Fill(block []byte, value uint64) {
	for i := 0; i < len(block); i += 8 {
		binary.LittleEndian.PutUint64(block[i:], value)
	}
}

// Value reads the value of a block back; an error when it is a mixture of two.
func Value(block []byte) (uint64, error) {
	v := binary.LittleEndian.Uint64(block)
	for i := 0; i < len(block); i += 8 {
		if w := binary.LittleEndian.Uint64(block[i:]); w != v {
			return 0, fmt.Errorf("torn block: %d at its start and %d at byte %d, sector %d", v, w, i, i/sector)
		}
	}
	return v, nil
}

// Op is one access of one block. Every block has one writer: an unacknowledged
// write may be carried out twice, and only another writer could tell.
type Op struct {
	Client int // identity: a client that starts again has a new one
	Write  bool
	Value  uint64
	Call   time.Duration // since the start of the history
	Return time.Duration // -1: nobody knows whether it happened
}

// History of all blocks. Its methods may be called concurrently.
type History struct {
	begun time.Time

	mu     sync.Mutex // guards blocks, first
	blocks map[int][]Op
	first  map[int]uint64
}

// New starts a history.
func New() *History {
	return &History{begun: time.Now(), blocks: map[int][]Op{}, first: map[int]uint64{}}
}

// Now is the time of the history.
func (h *History) Now() time.Duration { return time.Since(h.begun) }

// Begin says what a block held before anything was recorded.
func (h *History) Begin(block int, value uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.first[block] = value
}

// Add records an access. A read without an answer says nothing and is left out.
func (h *History) Add(block int, o Op) {
	if !o.Write && o.Return < 0 {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.blocks[block] = append(h.blocks[block], o)
}

// checkBound is how long the checker may think about one block.
const checkBound = 30 * time.Second

type access struct {
	write bool
	value uint64
}

func model(first uint64) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return first },
		Step: func(state, input, output any) (bool, any) {
			if in := input.(access); in.write {
				return true, in.value
			}
			return output.(uint64) == state.(uint64), state
		},
	}
}

// Check returns an error with the history of the first block that no single disk
// could have shown.
func (h *History) Check() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	end := int64(h.Now())
	for block, ops := range h.blocks {
		list := make([]porcupine.Operation, 0, len(ops))
		for i, o := range ops {
			p := porcupine.Operation{ClientId: o.Client, Call: int64(o.Call), Return: int64(o.Return), Input: access{o.Write, o.Value}, Output: o.Value}
			if o.Return < 0 {
				// It may take effect at any time to come; each has a client of its
				// own, since porcupine forbids a client two calls at once.
				p.Return, p.ClientId = end, 1<<30+i
			}
			list = append(list, p)
		}
		switch porcupine.CheckOperationsTimeout(model(h.first[block]), list, checkBound) {
		case porcupine.Ok:
		case porcupine.Illegal:
			return fmt.Errorf("block %d (byte %d): the history of %d accesses is not that of one disk:%s", block, block*disk.BlockSize, len(ops), h.print(block))
		default:
			return fmt.Errorf("block %d: its history of %d accesses could not be decided in %v", block, len(ops), checkBound)
		}
	}
	return nil
}

// print lists the history of a block in the order of the calls' ends as recorded.
func (h *History) print(block int) string {
	s := fmt.Sprintf("\n    held %d at first", h.first[block])
	for _, o := range h.blocks[block] {
		what, end := "read ", "?"
		if o.Write {
			what = "write"
		}
		if o.Return >= 0 {
			end = fmt.Sprintf("%.6f", o.Return.Seconds())
		}
		s += fmt.Sprintf("\n    client %d: %.6f to %s: %s %d", o.Client, o.Call.Seconds(), end, what, o.Value)
	}
	return s
}
