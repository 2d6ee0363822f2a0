package userland

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"beffroi.dev/image/packages"
)

// Pack makes the squashfs at out. Tools is a tree with squashfs-tools, work a folder
// that it is unpacked in. The files come as a tar stream, so that no umask and no
// owner of this machine matters.
func Pack(ctx context.Context, t packages.Tree, paths []string, tools packages.Tree, work, out string) error {
	run, err := unpackTool(tools, work)
	if err != nil {
		return err
	}
	if err := os.RemoveAll(out); err != nil {
		return err
	}
	pr, pw := io.Pipe()
	go func() { pw.CloseWithError(stream(pw, t, paths)) }()
	args := append(run[1:], "-", out, "-tar", "-comp", "zstd", "-Xcompression-level", "19", "-b", "256K", "-all-root",
		"-root-mode", "0755", "-no-xattrs", "-mkfs-time", "0", "-all-time", "1", "-no-progress", "-quiet")
	cmd := exec.CommandContext(ctx, run[0], args...)
	cmd.Stdin = pr
	cmd.Env = []string{"LC_ALL=C", "TZ=UTC"}
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("userland: squashfs: %w: %s", err, text)
	}
	return nil
}

// unpackTool lays the packer and its libraries out and returns how to call it.
func unpackTool(tools packages.Tree, work string) ([]string, error) {
	paths, err := Closure(tools, "usr/bin/mksquashfs")
	if err != nil {
		return nil, err
	}
	for _, p := range paths {
		way, err := tools.Resolve(p)
		if err != nil {
			return nil, err
		}
		file := filepath.Join(work, path.Base(p))
		if err := os.WriteFile(file, tools[way[len(way)-1]].Data, 0o755); err != nil {
			return nil, err
		}
	}
	return []string{filepath.Join(work, "ld-linux-x86-64.so.2"), "--library-path", work, "--argv0", "mksquashfs",
		filepath.Join(work, "mksquashfs")}, nil
}

// stream writes the files, relative to usr, with the folders that they need.
func stream(w io.Writer, t packages.Tree, paths []string) error {
	have := map[string]bool{"usr": true}
	var all []string
	for _, p := range paths {
		all = append(all, p)
		for d := path.Dir(p); !have[d]; d = path.Dir(d) {
			have[d] = true
			all = append(all, d+"/")
		}
	}
	sort.Strings(all)
	z := tar.NewWriter(w)
	for _, p := range all {
		h := &tar.Header{Name: strings.TrimPrefix(p, "usr/"), ModTime: time.Unix(1, 0), Format: tar.FormatPAX}
		e := t[p]
		switch {
		case strings.HasSuffix(p, "/"):
			h.Typeflag, h.Mode = tar.TypeDir, 0o755
		case e.Link != "":
			h.Typeflag, h.Mode, h.Linkname = tar.TypeSymlink, 0o777, e.Link
		default:
			h.Typeflag, h.Mode, h.Size = tar.TypeReg, int64(e.Mode.Perm()&0o755), int64(len(e.Data))
		}
		if err := z.WriteHeader(h); err != nil {
			return err
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := io.Copy(z, bytes.NewReader(e.Data)); err != nil {
				return err
			}
		}
	}
	return z.Close()
}
