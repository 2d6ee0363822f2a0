package uki

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

var le = binary.LittleEndian

// ErrImage is returned for what is not a PE image that we understand.
var ErrImage = errors.New("not a 64-bit PE image")

const (
	coffSize    = 24  // signature and COFF header
	optSize     = 112 // optional header of PE32+, without the directories
	sectionSize = 40
	certificate = 4 // index of the directory that points to the signatures

	// Where fields of the optional header lie.
	optSectionAlign  = 32
	optFileAlign     = 36
	optSizeOfImage   = 56
	optSizeOfHeaders = 60
	optCheckSum      = 64
	optDirectories   = 108
)

// header says where in an image the parts of its header lie.
type header struct {
	coff, opt, table int // offsets
	sections         int
	directories      int
}

// parse finds the parts of a PE32+ header.
func parse(b []byte) (header, error) {
	var h header
	if len(b) < 0x40 || b[0] != 'M' || b[1] != 'Z' {
		return h, ErrImage
	}
	h.coff = int(le.Uint32(b[0x3c:]))
	if h.coff < 0x40 || h.coff > len(b)-coffSize-optSize || string(b[h.coff:h.coff+4]) != "PE\x00\x00" {
		return h, ErrImage
	}
	h.opt = h.coff + coffSize
	h.sections = int(le.Uint16(b[h.coff+6:]))
	size := int(le.Uint16(b[h.coff+20:]))
	h.table = h.opt + size
	h.directories = int(le.Uint32(b[h.opt+optDirectories:]))
	if le.Uint16(b[h.opt:]) != 0x20b || h.directories <= certificate || h.directories > 16 ||
		size < optSize+8*h.directories || h.table+h.sections*sectionSize > len(b) {
		return h, ErrImage
	}
	if n := le.Uint32(b[h.opt+optSizeOfHeaders:]); int64(n) > int64(len(b)) || int(n) < h.table+h.sections*sectionSize {
		return h, ErrImage
	}
	return h, nil
}

// section is one entry of the table of sections.
type section struct {
	name                  string
	virtual, address      uint32
	rawSize, rawAt, flags uint32
}

func (h header) section(b []byte, i int) section {
	e := b[h.table+i*sectionSize:][:sectionSize]
	return section{
		name:    string(bytes.TrimRight(e[:8], "\x00")),
		virtual: le.Uint32(e[8:]), address: le.Uint32(e[12:]),
		rawSize: le.Uint32(e[16:]), rawAt: le.Uint32(e[20:]), flags: le.Uint32(e[36:]),
	}
}

func (s section) put(e []byte) {
	copy(e[:8], s.name)
	le.PutUint32(e[8:], s.virtual)
	le.PutUint32(e[12:], s.address)
	le.PutUint32(e[16:], s.rawSize)
	le.PutUint32(e[20:], s.rawAt)
	le.PutUint32(e[36:], s.flags)
}

// Part is a section to be added, or one that was read.
type Part struct {
	Name string // at most 8 letters, with its dot
	Data []byte
}

// Build returns the stub with the parts appended as sections of read-only data.
func Build(stub []byte, parts []Part) ([]byte, error) {
	h, err := parse(stub)
	if err != nil {
		return nil, fmt.Errorf("uki: stub: %w", err)
	}
	if le.Uint32(stub[h.opt+optSize+8*certificate:]) != 0 {
		return nil, errors.New("uki: the stub is signed already")
	}
	room := (int(le.Uint32(stub[h.opt+optSizeOfHeaders:])) - h.table) / sectionSize
	if room < h.sections+len(parts) {
		return nil, fmt.Errorf("uki: the stub's header has room for %d sections, not for %d", room, h.sections+len(parts))
	}
	fileAlign := le.Uint32(stub[h.opt+optFileAlign:])
	if fileAlign == 0 || fileAlign > 4096 || fileAlign&(fileAlign-1) != 0 {
		return nil, ErrImage
	}
	// Pages, whatever the stub asks for: firmware may protect memory by pages.
	pageAlign := max(le.Uint32(stub[h.opt+optSectionAlign:]), 4096)
	var next uint32
	end := uint64(h.table + h.sections*sectionSize)
	for i := range h.sections {
		s := h.section(stub, i)
		next = max(next, s.address+max(s.virtual, s.rawSize))
		end = max(end, uint64(s.rawAt)+uint64(s.rawSize), uint64(le.Uint32(stub[h.opt+optSizeOfHeaders:])))
	}
	if end > uint64(len(stub)) {
		return nil, ErrImage
	}
	// Symbols behind the last section would be a gap in what signatures cover.
	stub = stub[:end]
	total := len(stub)
	for _, p := range parts {
		total += len(p.Data) + int(fileAlign)
	}
	if total > 1<<30 {
		return nil, fmt.Errorf("uki: %d bytes are too many for one image", total)
	}
	out := make([]byte, 0, total+16)
	out = pad(append(out, stub...), int(fileAlign))
	for i, p := range parts {
		if len(p.Name) == 0 || len(p.Name) > 8 || len(p.Data) == 0 {
			return nil, fmt.Errorf("uki: section %q with %d bytes", p.Name, len(p.Data))
		}
		next = up(next, pageAlign)
		s := section{name: p.Name, virtual: uint32(len(p.Data)), address: next,
			rawSize: up(uint32(len(p.Data)), fileAlign), rawAt: uint32(len(out)), flags: 0x40000040}
		s.put(out[h.table+(h.sections+i)*sectionSize:][:sectionSize])
		out = pad(append(out, p.Data...), int(fileAlign))
		next += s.virtual
	}
	le.PutUint16(out[h.coff+6:], uint16(h.sections+len(parts)))
	clear(out[h.coff+12 : h.coff+20]) // the table of symbols
	le.PutUint32(out[h.opt+optSizeOfImage:], up(next, pageAlign))
	h.setChecksum(out)
	return out, nil
}

// Section returns the contents of the first section of a name.
func Section(image []byte, name string) ([]byte, error) {
	h, err := parse(image)
	if err != nil {
		return nil, fmt.Errorf("uki: %w", err)
	}
	for i := range h.sections {
		s := h.section(image, i)
		if s.name != name {
			continue
		}
		n := min(s.virtual, s.rawSize)
		if uint64(s.rawAt)+uint64(n) > uint64(len(image)) {
			return nil, fmt.Errorf("uki: section %s lies outside of the image", name)
		}
		return image[s.rawAt:][:n], nil
	}
	return nil, fmt.Errorf("uki: no section %s", name)
}

// setChecksum writes the sum that a PE header holds: 16-bit words with carry, and
// the length.
func (h header) setChecksum(b []byte) {
	at := h.opt + optCheckSum
	le.PutUint32(b[at:], 0)
	var sum uint64
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint64(le.Uint16(b[i:]))
	}
	if len(b)%2 == 1 {
		sum += uint64(b[len(b)-1])
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	le.PutUint32(b[at:], uint32(sum)+uint32(len(b)))
}

func up(n, to uint32) uint32 { return (n + to - 1) &^ (to - 1) }

func pad(b []byte, to int) []byte {
	return append(b, make([]byte, (to-len(b)%to)%to)...)
}
