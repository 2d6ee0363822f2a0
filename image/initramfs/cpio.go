package initramfs

import (
	"bytes"
	"fmt"
	"io"
	"path"
	"slices"
	"sort"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// Kinds of entries, as in the mode of a Unix file.
const (
	regular = 0o100000
	folder  = 0o040000
	symlink = 0o120000
	char    = 0o020000
)

// Entry is one file, folder, link or device.
type Entry struct {
	Path         string // without a leading slash
	kind         uint32
	mode         uint32
	Data         []byte // contents, or where a link points
	major, minor uint32 // of a device
}

// File is a regular file that all may read.
func File(p string, data []byte) Entry {
	return Entry{Path: p, kind: regular, mode: 0o644, Data: data}
}

// Program is a file that all may run.
func Program(p string, data []byte) Entry {
	return Entry{Path: p, kind: regular, mode: 0o755, Data: data}
}

// Link is a symbolic link.
func Link(p, to string) Entry {
	return Entry{Path: p, kind: symlink, mode: 0o777, Data: []byte(to)}
}

// Folder is an empty folder.
func Folder(p string, mode uint32) Entry {
	return Entry{Path: p, kind: folder, mode: mode}
}

// device is a character device.
func device(p string, mode, major, minor uint32) Entry {
	return Entry{Path: p, kind: char, mode: mode, major: major, minor: minor}
}

// Pack writes the entries as one archive (newc with checksums, which the kernel checks as
// it unpacks: not all that it unpacks is compressed), sorted, with the folders that they
// need.
func Pack(entries []Entry) ([]byte, error) {
	have := map[string]bool{}
	for _, e := range entries {
		if e.Path == "" || e.Path != strings.TrimPrefix(path.Clean("/"+e.Path), "/") || have[e.Path] {
			return nil, fmt.Errorf("initramfs: entry %q is there twice or is no path", e.Path)
		}
		have[e.Path] = true
	}
	all := slices.Clone(entries)
	for _, e := range entries {
		for dir := path.Dir(e.Path); dir != "." && !have[dir]; dir = path.Dir(dir) {
			have[dir] = true
			all = append(all, Folder(dir, 0o755))
		}
	}
	sort.Slice(all, func(i, j int) bool { return all[i].Path < all[j].Path })
	var b bytes.Buffer
	for i, e := range all {
		e.write(&b, i+1)
	}
	Entry{Path: "TRAILER!!!"}.write(&b, 0)
	return b.Bytes(), nil
}

// write appends one entry. Its time is 1, not 0, which some programs take for none.
func (e Entry) write(b *bytes.Buffer, inode int) {
	links := 1
	if e.kind == folder {
		links = 2
	}
	sum := uint32(0) // of the bytes; of files only
	if e.kind == regular {
		for _, c := range e.Data {
			sum += uint32(c)
		}
	}
	fmt.Fprintf(b, "070702%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x", inode, e.kind|e.mode, 0, 0, links, 1,
		len(e.Data), 0, 0, e.major, e.minor, len(e.Path)+1, sum)
	b.WriteString(e.Path)
	b.WriteByte(0)
	pad(b)
	b.Write(e.Data)
	pad(b)
}

func pad(b *bytes.Buffer) { b.Write(make([]byte, (4-b.Len()%4)%4)) }

// Compress is zstd as the kernel takes it, padded so that an archive may follow.
func Compress(w io.Writer, archive []byte) error {
	z, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithEncoderConcurrency(1),
		zstd.WithWindowSize(8<<20), zstd.WithSingleSegment(false))
	if err != nil {
		return fmt.Errorf("initramfs: %w", err)
	}
	b := bytes.NewBuffer(z.EncodeAll(archive, nil))
	pad(b)
	_, err = w.Write(b.Bytes())
	return err
}
