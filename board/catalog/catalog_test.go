package catalog_test

import (
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
