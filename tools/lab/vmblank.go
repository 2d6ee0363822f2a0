package main

import (
	"fmt"
	"os"
	"path/filepath"
)

// blank makes a new machine of a dead one: a disk of the same size with the image as
// dd writes it and nothing of a pair on it, and firmware that knows nothing. What the
// old one held is gone, as in a fire. Its cards are plugged as they were.
func blank(lab Lab, m Machine, image string) error {
	if m.Mode != "vm" {
		return fmt.Errorf("blank: %s is a process; only a virtual machine (lab up --mode vm) has a disk to write an image to", m.Name)
	}
	if power(m) != "off" {
		return fmt.Errorf("blank: node %s runs; cut its power first: %s kill %s", m.Name, program(lab), m.Name)
	}
	if err := kill(m); err != nil { // its disk's process
		return err
	}
	disk := filepath.Join(m.Dir, "disk.raw")
	old, err := os.Stat(disk)
	if err != nil {
		return fmt.Errorf("blank: the old disk of node %s: %w", m.Name, err)
	}
	if err := copySparse(image, disk, old.Size()); err != nil {
		return fmt.Errorf("write the image to node %s's new disk (make image builds it): %w", m.Name, err)
	}
	return copySparse(ovmfVars, filepath.Join(m.Dir, "vars.fd"), 0)
}
