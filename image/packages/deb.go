package packages

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strconv"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// File is one entry of a package: a file, a folder or a link.
type File struct {
	Path string // without a leading slash
	Mode os.FileMode
	Link string // of a symbolic link
	Hard bool   // Link is the path of another file of the package, whose contents this has
	Size int64
}

// Walk calls visit for each entry of a package, in the package's order. The
// contents can be read until visit returns.
func Walk(deb string, visit func(f File, r io.Reader) error) error {
	in, err := os.Open(deb)
	if err != nil {
		return err
	}
	defer in.Close()
	data, name, err := member(bufio.NewReaderSize(in, 1<<20), "data.tar")
	if err != nil {
		return fmt.Errorf("%s: %w", path.Base(deb), err)
	}
	if data, err = decompress(name, data); err != nil {
		return fmt.Errorf("%s: %s: %w", path.Base(deb), name, err)
	}
	for t := tar.NewReader(data); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w", path.Base(deb), err)
		}
		f := File{Path: strings.TrimPrefix(path.Clean("/"+h.Name), "/"), Mode: h.FileInfo().Mode(), Size: h.Size}
		switch h.Typeflag {
		case tar.TypeReg, tar.TypeDir:
		case tar.TypeSymlink:
			f.Link = h.Linkname
		case tar.TypeLink:
			f.Link, f.Hard = strings.TrimPrefix(path.Clean("/"+h.Linkname), "/"), true
		default:
			continue
		}
		if err := visit(f, t); err != nil {
			return err
		}
	}
}

// member finds a member of an ar archive by the beginning of its name.
func member(r io.Reader, prefix string) (io.Reader, string, error) {
	magic := make([]byte, 8)
	if _, err := io.ReadFull(r, magic); err != nil || string(magic) != "!<arch>\n" {
		return nil, "", errors.New("not a Debian package")
	}
	head := make([]byte, 60)
	for {
		if _, err := io.ReadFull(r, head); err != nil {
			return nil, "", fmt.Errorf("no member %s", prefix)
		}
		name := string(bytes.TrimRight(head[:16], " /"))
		size, err := strconv.ParseInt(string(bytes.TrimSpace(head[48:58])), 10, 64)
		if err != nil || size < 0 || string(head[58:]) != "`\n" {
			return nil, "", errors.New("not a Debian package: a damaged member")
		}
		if strings.HasPrefix(name, prefix) {
			return io.LimitReader(r, size), name, nil
		}
		if _, err := io.CopyN(io.Discard, r, size+size%2); err != nil {
			return nil, "", err
		}
	}
}

func decompress(name string, r io.Reader) (io.Reader, error) {
	switch path.Ext(name) {
	case ".xz":
		return xz.NewReader(r)
	case ".gz":
		return gzip.NewReader(r)
	case ".zst":
		return zstd.NewReader(r, zstd.WithDecoderConcurrency(1))
	case ".tar":
		return r, nil
	}
	return nil, errors.New("an unknown compression")
}
