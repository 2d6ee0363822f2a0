package rootfs

import (
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
var ErrDamaged = errors.New("the file system of the state partition is damaged and could not be repaired")

// MountState mounts the state partition on target. A blank one is formatted; one
// that holds a file system is checked first, and repaired where that loses
// nothing that was in use. Anything else is refused.
func MountState(ctx context.Context, dev, target string) (made bool, err error) {
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
	} else if out, err := run(ctx, "e2fsck", "-p", dev); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() > 1 { // 1: errors were corrected
			return false, fmt.Errorf("%w: %s", ErrDamaged, out)
		}
	}
	if err := os.MkdirAll(target, 0o755); err != nil {
		return false, fmt.Errorf("mount state: %w", err)
	}
	if err := unix.Mount(dev, target, "ext4", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOATIME, "errors=remount-ro"); err != nil {
		return false, fmt.Errorf("mount state: %w", err)
	}
	return blank, nil
}

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
	return len(bytes.Trim(head, "\x00")) == 0, nil
}

func run(ctx context.Context, name string, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}
