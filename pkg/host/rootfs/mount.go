package rootfs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Mount is one line of a table of mounts.
type Mount struct {
	Source, Target, Type string
	Flags                uintptr
	Data                 string
	Optional             bool // the kernel or the firmware may not have it
}

// Kernel lists what the kernel offers, in the order of mounting.
func Kernel() []Mount {
	const quiet = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	return []Mount{
		{Source: "proc", Target: "/proc", Type: "proc", Flags: quiet},
		{Source: "sys", Target: "/sys", Type: "sysfs", Flags: quiet},
		{Source: "dev", Target: "/dev", Type: "devtmpfs", Flags: unix.MS_NOSUID, Data: "mode=0755"},
		{Source: "devpts", Target: "/dev/pts", Type: "devpts", Flags: unix.MS_NOSUID | unix.MS_NOEXEC, Data: "mode=0620,ptmxmode=0666"},
		{Source: "shm", Target: "/dev/shm", Type: "tmpfs", Flags: unix.MS_NOSUID | unix.MS_NODEV, Data: "mode=1777"},
		{Source: "run", Target: "/run", Type: "tmpfs", Flags: unix.MS_NOSUID | unix.MS_NODEV, Data: "mode=0755,size=64m"},
		{Source: "tmp", Target: "/tmp", Type: "tmpfs", Flags: unix.MS_NOSUID | unix.MS_NODEV, Data: "mode=1777,size=256m"},
		{Source: "cgroup", Target: "/sys/fs/cgroup", Type: "cgroup2", Flags: quiet},
		{Source: "pstore", Target: "/sys/fs/pstore", Type: "pstore", Flags: quiet, Optional: true},
		{Source: "efivarfs", Target: "/sys/firmware/efi/efivars", Type: "efivarfs", Flags: quiet, Optional: true},
	}
}

// MountAll mounts a table. What is mounted already stays; a missing optional one
// is left out.
func MountAll(table []Mount) error {
	var errs []error
	for _, m := range table {
		if mounted(m.Target, m.Type) {
			continue
		}
		err := os.MkdirAll(m.Target, 0o755)
		if err == nil {
			err = unix.Mount(m.Source, m.Target, m.Type, m.Flags, m.Data)
		}
		if err != nil && !m.Optional {
			errs = append(errs, fmt.Errorf("mount %s on %s: %w", m.Type, m.Target, err))
		}
	}
	return errors.Join(errs...)
}

// magics tell a mounted file system of the kernel from the folder below it.
var magics = map[string]int64{
	"proc": unix.PROC_SUPER_MAGIC, "sysfs": unix.SYSFS_MAGIC, "devpts": unix.DEVPTS_SUPER_MAGIC, "tmpfs": unix.TMPFS_MAGIC,
	"cgroup2": unix.CGROUP2_SUPER_MAGIC, "pstore": unix.PSTOREFS_MAGIC, "efivarfs": unix.EFIVARFS_MAGIC,
}

// mounted reports whether target is a mount of this type. Its device differs from
// that of the folder above it.
func mounted(target, kind string) bool {
	if kind == "devtmpfs" {
		return isMountPoint(target)
	}
	var fs unix.Statfs_t
	return unix.Statfs(target, &fs) == nil && fs.Type == magics[kind] && isMountPoint(target)
}

func isMountPoint(path string) bool {
	var here, above unix.Stat_t
	return unix.Stat(path, &here) == nil && unix.Stat(filepath.Dir(path), &above) == nil && here.Dev != above.Dev
}

// MountImage mounts a read-only file system image through a loop device.
func MountImage(image, target, kind string) error {
	if isMountPoint(target) {
		return nil
	}
	f, err := os.Open(image)
	if err != nil {
		return fmt.Errorf("open image: %w", err)
	}
	defer f.Close()
	dev, err := attachLoop(f)
	if err != nil {
		return fmt.Errorf("loop device for %s: %w", image, err)
	}
	defer dev.Close() // it lives as long as the mount
	if err := os.MkdirAll(target, 0o755); err != nil {
		return fmt.Errorf("mount %s: %w", image, err)
	}
	if err := unix.Mount(dev.Name(), target, kind, unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV, ""); err != nil {
		return fmt.Errorf("mount %s on %s: %w", image, target, err)
	}
	return nil
}

// attachLoop gives a file a loop device that goes with its last user, of which the
// caller is the first.
func attachLoop(f *os.File) (*os.File, error) {
	ctl, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer ctl.Close()
	n, err := unix.IoctlRetInt(int(ctl.Fd()), unix.LOOP_CTL_GET_FREE)
	if err != nil {
		return nil, fmt.Errorf("find a free one: %w", err)
	}
	path := fmt.Sprintf("/dev/loop%d", n)
	dev, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	cfg := unix.LoopConfig{Fd: uint32(f.Fd()), Info: unix.LoopInfo64{Flags: unix.LO_FLAGS_READ_ONLY | unix.LO_FLAGS_AUTOCLEAR}}
	if err := unix.IoctlLoopConfigure(int(dev.Fd()), &cfg); err != nil {
		return nil, errors.Join(fmt.Errorf("configure %s: %w", path, err), dev.Close())
	}
	return dev, nil
}
