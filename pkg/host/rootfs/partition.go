package rootfs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Partition is one partition of a disk, as the kernel names it.
type Partition struct {
	Name   string // of the partition table: beffroi-state
	Path   string // /dev/vda3
	Disk   string // /dev/vda
	Number int
	Size   int64 // bytes
}

var (
	// ErrNoPartition is returned when no disk has the partition.
	ErrNoPartition = errors.New("no disk of this machine has it")
	// ErrManyPartitions is returned when more than one disk has it: a second disk
	// of another appliance may be plugged in, and guessing could destroy it.
	ErrManyPartitions = errors.New("more than one disk of this machine has it")
)

// FindPartition finds the one partition with a name, in /sys/class/block.
func FindPartition(class, name string) (Partition, error) {
	entries, err := os.ReadDir(class)
	if err != nil {
		return Partition{}, fmt.Errorf("look for partition %s: %w", name, err)
	}
	var found []Partition
	for _, e := range entries {
		p, err := readPartition(filepath.Join(class, e.Name()))
		if err == nil && p.Name == name {
			found = append(found, p)
		}
	}
	switch len(found) {
	case 0:
		return Partition{}, fmt.Errorf("partition %s: %w", name, ErrNoPartition)
	case 1:
		return found[0], nil
	}
	paths := make([]string, len(found))
	for i, p := range found {
		paths[i] = p.Path
	}
	return Partition{}, fmt.Errorf("partition %s: %w (%s)", name, ErrManyPartitions, strings.Join(paths, ", "))
}

func readPartition(dir string) (Partition, error) {
	b, err := os.ReadFile(filepath.Join(dir, "uevent"))
	if err != nil {
		return Partition{}, err
	}
	values := map[string]string{}
	for line := range strings.Lines(string(b)) {
		k, v, _ := strings.Cut(strings.TrimSpace(line), "=")
		values[k] = v
	}
	if values["DEVTYPE"] != "partition" {
		return Partition{}, errors.New("not a partition")
	}
	number, err := strconv.Atoi(values["PARTN"])
	if err != nil {
		return Partition{}, fmt.Errorf("number of %s: %w", dir, err)
	}
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return Partition{}, err
	}
	sectors, err := os.ReadFile(filepath.Join(dir, "size"))
	if err != nil {
		return Partition{}, err
	}
	size, err := strconv.ParseInt(strings.TrimSpace(string(sectors)), 10, 64)
	if err != nil {
		return Partition{}, fmt.Errorf("size of %s: %w", dir, err)
	}
	return Partition{
		Name: values["PARTNAME"], Path: "/dev/" + values["DEVNAME"], Disk: "/dev/" + filepath.Base(filepath.Dir(real)), Number: number, Size: size * 512,
	}, nil
}

// Reread makes the kernel take the partitions of a disk anew; none of them may be
// in use.
func Reread(disk *os.File) error {
	if _, err := unix.IoctlRetInt(int(disk.Fd()), unix.BLKRRPART); err != nil {
		return fmt.Errorf("read the partitions again: %w", err)
	}
	return nil
}
