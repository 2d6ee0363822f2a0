package catalog_test

import (
	"slices"
	"testing"

	"beffroi.dev/board"
	"beffroi.dev/board/catalog"
)

func TestEveryMachineHasItsBoard(t *testing.T) {
	tests := []struct{ vendor, product, want string }{
		{"QEMU", "Standard PC (Q35 + ICH9, 2009)", "qemuq35"},
		{"QEMU", "Standard PC (i440FX + PIIX, 1996)", "generic"},
		{"Dell Inc.", "PowerEdge R450", "generic"},
		{"", "", "generic"},
	}
	for _, tt := range tests {
		if got := catalog.Match(board.SMBIOS{Vendor: tt.vendor, Product: tt.product}).Name; got != tt.want {
			t.Errorf("%q %q: %s; want %s", tt.vendor, tt.product, got, tt.want)
		}
	}
}

func TestEveryBoardIsWhole(t *testing.T) {
	for _, b := range catalog.All() {
		if err := b.Validate(); err != nil {
			t.Error(err)
		}
	}
}

// The kernel's own watchdog is the last resort: hardware that comes after it would never
// be looked for.
func TestSoftwareIsTheLastWatchdog(t *testing.T) {
	for _, b := range catalog.All() {
		if i := slices.Index(b.Watchdog, board.Softdog); i >= 0 && i != len(b.Watchdog)-1 {
			t.Errorf("board %s: %v", b.Name, b.Watchdog)
		}
	}
}
