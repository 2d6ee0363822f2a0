package importer

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

// Format is the format of an image.
type Format string

// The formats that can be imported.
const (
	Raw   Format = "raw"
	Qcow2 Format = "qcow2"
)

const (
	sector = 512
	// maxSize bounds an image, bytes: more than any disk of such a town, and far
	// from where arithmetic on offsets goes wrong.
	maxSize = 64 << 40
)

// ErrImage is wrapped by every refusal of a file.
var ErrImage = errors.New("not a disk image that can be imported")

// Image is what Inspect found.
type Image struct {
	Format      Format
	VirtualSize int64  // bytes that a guest sees
	Looks       string // what a raw image begins like
}

// Inspect tells what a file is. Everything but a raw or qcow2 disk image is
// refused, with what is allowed.
func Inspect(path string) (Image, error) {
	f, err := os.Open(path)
	if err != nil {
		return Image{}, fmt.Errorf("inspect image: %w", err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return Image{}, fmt.Errorf("inspect image: %w", err)
	}
	if !st.Mode().IsRegular() {
		return Image{}, fmt.Errorf("%w: %s is not a regular file", ErrImage, path)
	}
	return inspect(f, st.Size())
}

func inspect(r io.ReaderAt, size int64) (Image, error) {
	head := make([]byte, min(size, 128))
	if _, err := r.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return Image{}, fmt.Errorf("inspect image: %w", err)
	}
	if bytes.HasPrefix(head, qcowMagic) {
		virtual, err := parseQcow2(head)
		if err != nil {
			return Image{}, fmt.Errorf("%w: qcow2: %w", ErrImage, err)
		}
		return Image{Format: Qcow2, VirtualSize: virtual}, nil
	}
	if size == 0 || size%sector != 0 || size > maxSize {
		return Image{}, fmt.Errorf("%w: %d bytes: a raw image has a multiple of %d, at most %d TiB", ErrImage, size, sector, maxSize>>40)
	}
	for _, s := range signatures {
		found, err := s.matches(r, size)
		if err != nil {
			return Image{}, fmt.Errorf("inspect image: %w", err)
		}
		if found {
			return Image{Format: Raw, VirtualSize: size, Looks: s.name}, nil
		}
	}
	return Image{}, fmt.Errorf("%w: it begins like neither qcow2 nor a raw disk (boot sector, partition table, file system, ISO 9660); convert others to qcow2 first", ErrImage)
}

// signature is something by which a raw disk is known.
type signature struct {
	name   string
	offset int64
	bytes  string
}

// signatures are ordered: the more telling first.
var signatures = []signature{
	{"GPT", 512, "EFI PART"},
	{"GPT with 4096-byte sectors", 4096, "EFI PART"},
	{"ISO 9660", 32769, "CD001"},
	{"LUKS", 0, "LUKS\xba\xbe"},
	{"XFS", 0, "XFSB"},
	{"LVM", 512, "LABELONE"},
	{"ext2/3/4", 1080, "\x53\xef"},
	{"Btrfs", 65600, "_BHRfS_M"},
	{"swap", 4086, "SWAPSPACE2"},
	{"NTFS", 3, "NTFS    "},
	{"boot sector or MBR", 510, "\x55\xaa"},
}

func (s signature) matches(r io.ReaderAt, size int64) (bool, error) {
	if s.offset+int64(len(s.bytes)) > size {
		return false, nil
	}
	b := make([]byte, len(s.bytes))
	if _, err := r.ReadAt(b, s.offset); err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	return string(b) == s.bytes, nil
}

var qcowMagic = []byte("QFI\xfb")

// Bits of a version 3 header's incompatible features.
const (
	qcowDirty        = 1 << 0 // reference counts want repair: qemu-img does it
	qcowCorrupt      = 1 << 1
	qcowExternalData = 1 << 2
	qcowCompression  = 1 << 3
	qcowExtendedL2   = 1 << 4
	qcowKnown        = qcowDirty | qcowCompression | qcowExtendedL2
)

// parseQcow2 checks a header and returns the virtual size.
func parseQcow2(b []byte) (int64, error) {
	if len(b) < 72 {
		return 0, errors.New("the header is cut short")
	}
	version := binary.BigEndian.Uint32(b[4:])
	backing := binary.BigEndian.Uint64(b[8:])
	clusterBits := binary.BigEndian.Uint32(b[20:])
	size := binary.BigEndian.Uint64(b[24:])
	crypt := binary.BigEndian.Uint32(b[32:])
	switch {
	case version != 2 && version != 3:
		return 0, fmt.Errorf("version %d: versions 2 and 3 are supported", version)
	case backing != 0:
		return 0, errors.New("it has a backing file: flatten it first (qemu-img convert)")
	case crypt != 0:
		return 0, errors.New("it is encrypted: decrypt it first (qemu-img convert)")
	case clusterBits < 9 || clusterBits > 21:
		return 0, fmt.Errorf("clusters of 2^%d bytes: 2^9 to 2^21 are allowed", clusterBits)
	case size == 0 || size%sector != 0 || size > maxSize:
		return 0, fmt.Errorf("a virtual size of %d bytes: a multiple of %d, at most %d TiB, is allowed", size, sector, int64(maxSize)>>40)
	}
	if version == 2 {
		return int64(size), nil
	}
	if len(b) < 104 {
		return 0, errors.New("the header is cut short")
	}
	features := binary.BigEndian.Uint64(b[72:])
	length := binary.BigEndian.Uint32(b[100:])
	switch {
	case features&qcowExternalData != 0:
		return 0, errors.New("its data is in another file: convert it first (qemu-img convert)")
	case features&qcowCorrupt != 0:
		return 0, errors.New("it is marked corrupt: repair it first (qemu-img check -r all)")
	case features&^qcowKnown != 0:
		return 0, fmt.Errorf("it needs features that are not known here (%#x)", features&^uint64(qcowKnown))
	case length < 104 || uint64(length) > 1<<clusterBits:
		return 0, fmt.Errorf("a header of %d bytes", length)
	}
	return int64(size), nil
}
