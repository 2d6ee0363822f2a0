package esp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path"
	"sort"
	"strings"
	"unicode/utf16"
)

const (
	sector     = 512
	perCluster = 4 // sectors
	cluster    = sector * perCluster
	reserved   = 32
	entry      = 32
	endOfChain = 0x0fffffff
	date       = 0x0021 // 1 January 1980, the first that FAT knows
)

var le = binary.LittleEndian

// File is one file; its folders are made.
type File struct {
	Path string // with slashes, without a leading one
	Data []byte
}

// Config says where the file system lies.
type Config struct {
	Offset int64 // in the image
	Size   int64
	Label  string
	Serial uint32
}

// Validate reports a size that FAT32 cannot have.
func (c Config) Validate() error {
	if n := c.Size / cluster; n < 66000 || n > 1<<22 || c.Size%cluster != 0 || c.Offset%sector != 0 {
		return fmt.Errorf("esp: %d bytes at %d cannot be a FAT32 file system of ours", c.Size, c.Offset)
	}
	if len(c.Label) == 0 || len(c.Label) > 11 {
		return fmt.Errorf("esp: label %q: want 1 to 11 letters", c.Label)
	}
	return nil
}

// node is a file or folder while the tree is being made.
type node struct {
	name  string
	data  []byte
	kids  map[string]*node // of a folder
	first uint32           // cluster
}

// volume lays clusters out one after the other.
type volume struct {
	w        io.WriterAt
	c        Config
	fat      []uint32
	fatSize  int64 // sectors
	dataAt   int64 // sector
	clusters int64
}

// Write writes a file system with the files. What is not written must read as zeros.
func Write(w io.WriterAt, c Config, files []File) error {
	if err := c.Validate(); err != nil {
		return err
	}
	root := &node{kids: map[string]*node{}}
	for _, f := range files {
		if err := root.add(f); err != nil {
			return err
		}
	}
	v := &volume{w: w, c: c, fat: []uint32{0x0ffffff8, endOfChain}}
	total := c.Size / sector
	// Each sector of a table has 128 entries and takes itself away from the rest.
	v.fatSize = ((total-reserved)/perCluster+2)/128 + 1
	v.dataAt = reserved + 2*v.fatSize
	v.clusters = (total - v.dataAt) / perCluster
	root.first = v.take(int64(max(root.size(true), 1)))
	if err := v.folder(root, nil); err != nil {
		return err
	}
	if int64(len(v.fat)) > v.clusters+2 {
		return errors.New("esp: the files do not fit")
	}
	return v.tables()
}

func (n *node) add(f File) error {
	parts := strings.Split(path.Clean(f.Path), "/")
	for i, p := range parts {
		if p == "" || p == "." || p == ".." || len(p) > 200 || strings.ContainsAny(p, `\:*?"<>|`) {
			return fmt.Errorf("esp: %q is no name", f.Path)
		}
		next := n.kids[p]
		if next == nil {
			next = &node{name: p}
			if i < len(parts)-1 {
				next.kids = map[string]*node{}
			}
			n.kids[p] = next
		} else if i == len(parts)-1 || next.kids == nil {
			return fmt.Errorf("esp: %q is there twice", f.Path)
		}
		n = next
	}
	n.data = f.Data
	return nil
}

func (n *node) sorted() []*node {
	var all []*node
	for _, k := range n.kids {
		all = append(all, k)
	}
	sort.Slice(all, func(i, j int) bool { return all[i].name < all[j].name })
	return all
}

// size is how many clusters a node takes.
func (n *node) size(root bool) int {
	if n.kids == nil {
		return (len(n.data) + cluster - 1) / cluster
	}
	entries := 2
	if root {
		entries = 1 // the label
	}
	for _, k := range n.kids {
		entries += 1 + (len(k.name)+12)/13
	}
	return (entries*entry + cluster - 1) / cluster
}

// take reserves a chain of clusters.
func (v *volume) take(n int64) uint32 {
	if n == 0 {
		return 0
	}
	first := uint32(len(v.fat))
	for range n - 1 {
		v.fat = append(v.fat, uint32(len(v.fat)+1))
	}
	v.fat = append(v.fat, endOfChain)
	return first
}

func (v *volume) write(first uint32, data []byte) error {
	if len(data) == 0 {
		return nil
	}
	at := v.dataAt*sector + int64(first-2)*cluster
	if at+int64(len(data)) > v.c.Size {
		return errors.New("esp: the files do not fit")
	}
	_, err := v.w.WriteAt(data, v.c.Offset+at)
	return err
}

// folder writes the entries of a folder, whose clusters are taken, and all below.
func (v *volume) folder(n, parent *node) error {
	var b []byte
	if parent == nil {
		b = append(b, short(fmt.Sprintf("%-11s", v.c.Label), 0x08, 0, 0)...)
	} else {
		up := parent.first
		if parent.name == "" {
			up = 0 // the root folder's number is never written
		}
		b = append(b, short(".          ", 0x10, n.first, 0)...)
		b = append(b, short("..         ", 0x10, up, 0)...)
	}
	for i, k := range n.sorted() {
		k.first = v.take(int64(k.size(false)))
		attribute := byte(0x20)
		if k.kids != nil {
			attribute = 0x10
		}
		// Every name is a long one; the short one only has to be unique in its folder.
		alias := fmt.Sprintf("F%07dBFR", i)
		b = append(b, long(k.name, alias)...)
		b = append(b, short(alias, attribute, k.first, len(k.data))...)
	}
	if err := v.write(n.first, b); err != nil {
		return err
	}
	for _, k := range n.sorted() {
		var err error
		if k.kids != nil {
			err = v.folder(k, n)
		} else {
			err = v.write(k.first, k.data)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func short(name string, attribute byte, first uint32, size int) []byte {
	e := make([]byte, entry)
	copy(e, name[:11])
	e[11] = attribute
	le.PutUint16(e[16:], date)
	le.PutUint16(e[18:], date)
	le.PutUint16(e[20:], uint16(first>>16))
	le.PutUint16(e[24:], date)
	le.PutUint16(e[26:], uint16(first))
	le.PutUint32(e[28:], uint32(size))
	return e
}

// long is the entries of a long name, which lie before the short one, last first.
func long(name, alias string) []byte {
	var sum byte
	for i := range 11 {
		sum = sum>>1 | sum<<7
		sum += alias[i]
	}
	u := utf16.Encode([]rune(name))
	n := (len(u) + 12) / 13
	if len(u)%13 != 0 {
		u = append(u, 0)
	}
	for len(u) < n*13 {
		u = append(u, 0xffff)
	}
	var out []byte
	for i := n; i >= 1; i-- {
		e := make([]byte, entry)
		e[0] = byte(i)
		if i == n {
			e[0] |= 0x40
		}
		e[11], e[13] = 0x0f, sum
		for j, at := range []int{1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30} {
			le.PutUint16(e[at:], u[(i-1)*13+j])
		}
		out = append(out, e...)
	}
	return out
}

// tables writes the boot sector, its copy, and both tables of clusters.
func (v *volume) tables() error {
	boot := make([]byte, sector)
	copy(boot, []byte{0xeb, 0x58, 0x90})
	copy(boot[3:], "BEFFROI ")
	le.PutUint16(boot[11:], sector)
	boot[13] = perCluster
	le.PutUint16(boot[14:], reserved)
	boot[16], boot[21] = 2, 0xf8
	le.PutUint16(boot[24:], 63)
	le.PutUint16(boot[26:], 255)
	le.PutUint32(boot[28:], uint32(v.c.Offset/sector))
	le.PutUint32(boot[32:], uint32(v.c.Size/sector))
	le.PutUint32(boot[36:], uint32(v.fatSize))
	le.PutUint32(boot[44:], 2)
	le.PutUint16(boot[48:], 1)
	le.PutUint16(boot[50:], 6)
	boot[64], boot[66] = 0x80, 0x29
	le.PutUint32(boot[67:], v.c.Serial)
	copy(boot[71:], fmt.Sprintf("%-11s", v.c.Label)+"FAT32   ")
	boot[510], boot[511] = 0x55, 0xaa
	info := make([]byte, sector)
	copy(info, "RRaA")
	copy(info[484:], "rrAa")
	le.PutUint32(info[488:], uint32(v.clusters+2-int64(len(v.fat))))
	le.PutUint32(info[492:], uint32(len(v.fat)))
	info[510], info[511] = 0x55, 0xaa
	fat := make([]byte, 4*len(v.fat))
	for i, c := range v.fat {
		le.PutUint32(fat[4*i:], c)
	}
	for _, step := range []struct {
		at   int64
		data []byte
	}{{0, boot}, {1, info}, {6, boot}, {7, info}, {reserved, fat}, {reserved + v.fatSize, fat}} {
		if _, err := v.w.WriteAt(step.data, v.c.Offset+step.at*sector); err != nil {
			return fmt.Errorf("esp: %w", err)
		}
	}
	return nil
}
