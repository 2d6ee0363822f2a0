package rootfs

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"
)

// blankBytes is how much of a partition must be zero for it to count as blank:
// more than where any file system or volume manager keeps its mark.
const blankBytes = 1 << 20

// ErrDamaged is returned for a state file system that a check could not repair.
var ErrDamaged = errors.New("the file system of the state partition is damaged and could not be repaired; " +
	"the other node goes on alone: have this disk checked, then install this node anew")

// MountState mounts the state partition on target. A blank one is formatted; one
// that holds a file system is checked first, and repaired where that loses
// nothing that was in use. Anything else is refused. A long check says through moves
// that it gets on.
func MountState(ctx context.Context, dev, target string, moves func()) (made bool, err error) {
	if isMountPoint(target) {
		return false, nil
	}
	blank, err := isBlank(dev)
	if err != nil {
		return false, fmt.Errorf("state partition: %w", err)
	}
	if blank {
		if out, err := run(ctx, "mkfs.ext4", "-q", "-F", "-L", "beffroi-state", "-O", "metadata_csum", dev); err != nil {
			return false, fmt.Errorf("format the state partition: %w: %s", err, out)
		}
	} else if err := check(ctx, dev, moves); err != nil {
		return false, err
	}
	if err := os.MkdirAll(target, 0o755); err != nil {
		return false, fmt.Errorf("mount state: %w", err)
	}
	if err := unix.Mount(dev, target, "ext4", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOATIME, "errors=remount-ro"); err != nil {
		return false, fmt.Errorf("mount state: %w", err)
	}
	return blank, nil
}

// maxWords bounds what is shown of a check's report, which may be pages long.
const maxWords = 300

// superblocks are where ext4 keeps the first copy of its superblock, by the size of
// its blocks; mkfs chooses the size by that of the partition.
var superblocks = [][]string{{}, {"-b", "32768", "-B", "4096"}, {"-b", "8193", "-B", "1024"}}

// check repairs a file system where that loses nothing. When its superblock is not
// one any more, the copies are tried. It never answers yes to what would throw data
// away: a node without its vote's log might vote twice, and its twin has it all.
func check(ctx context.Context, dev string, moves func()) error {
	var first string
	for _, super := range superblocks {
		out, err := fsck(ctx, append(append([]string{"-p"}, super...), dev), moves)
		if err == nil {
			return nil
		}
		var exit *exec.ExitError
		if errors.As(err, &exit) && exit.ExitCode() == 1 { // errors were corrected
			return nil
		}
		if first == "" {
			first = out
		}
		if !errors.As(err, &exit) || exit.ExitCode()&8 == 0 { // not the superblock's fault
			break
		}
	}
	if len(first) > maxWords {
		first = first[:maxWords] + "..."
	}
	return fmt.Errorf("%w (%s)", ErrDamaged, first)
}

// copies are where those of superblocks begin, bytes: one whose beginning was wiped is
// repaired from there, not made anew.
var copies = []int64{32768 * 4096, 8193 * 1024}

// copyBytes is the size of one.
const copyBytes = 1024

func isBlank(dev string) (bool, error) {
	f, err := os.Open(dev)
	if err != nil {
		return false, err
	}
	defer f.Close()
	head := make([]byte, blankBytes)
	if _, err := io.ReadFull(f, head); err != nil {
		return false, err
	}
	for _, at := range copies {
		c := make([]byte, copyBytes)
		if _, err := f.ReadAt(c, at); err != nil && !errors.Is(err, io.EOF) { // it may be shorter
			return false, err
		}
		head = append(head, c...)
	}
	return len(bytes.Trim(head, "\x00")) == 0, nil
}

// progressTo is the descriptor on which a check tells how far it is: the first one
// that a child has beyond the usual three.
const progressTo = "3"

// fsck runs e2fsck and passes on that it gets on: it writes a line for each piece of a
// pass that it has done.
func fsck(ctx context.Context, args []string, moves func()) (string, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return "", fmt.Errorf("progress of the check: %w", err)
	}
	defer r.Close()
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, "e2fsck", append([]string{"-C", progressTo}, args...)...)
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = &out, &out, []*os.File{w}
	err = cmd.Start()
	_ = w.Close() // the child has its own
	if err != nil {
		return "", err
	}
	for s := bufio.NewScanner(r); s.Scan(); {
		moves()
	}
	err = cmd.Wait()
	return strings.TrimSpace(out.String()), err
}

func run(ctx context.Context, name string, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}
