package initramfs_test

import (
	"slices"
	"strings"
	"testing"

	"beffroi.dev/board/catalog"
	"beffroi.dev/image/initramfs"
)

// What a board loads must be in the image: there is no other place. The build fails for a
// wanted module that the kernel does not know.
func TestTheImageHoldsWhatTheBoardsLoad(t *testing.T) {
	under := func(name string) string { return strings.ReplaceAll(name, "-", "_") }
	var wanted []string
	for _, name := range initramfs.Wanted {
		wanted = append(wanted, under(name))
	}
	for _, b := range catalog.All() {
		for _, name := range slices.Concat(b.Modules, b.Watchdog) {
			if !slices.Contains(wanted, under(name)) {
				t.Errorf("board %s loads %s, which no image holds", b.Name, name)
			}
		}
	}
	// The servers that this is flashed onto: their disks and cards.
	for name := range strings.FieldsSeq("ahci nvme virtio_blk virtio_net megaraid_sas mpt3sas e1000e igb ixgbe i40e ice bnxt_en tg3 mlx5_core i6300esb") {
		if !slices.Contains(wanted, name) {
			t.Errorf("%s is in no image", name)
		}
	}
}
