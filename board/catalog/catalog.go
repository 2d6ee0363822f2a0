// Package catalog knows all boards.
package catalog

import (
	"beffroi.dev/board"
	"beffroi.dev/board/generic"
	"beffroi.dev/board/qemuq35"
)

// All lists the boards; the first that matches counts, and the last matches all.
func All() []board.Board { return []board.Board{qemuq35.Board, generic.Board} }

// Match chooses the board that the firmware describes.
func Match(s board.SMBIOS) board.Board {
	for _, b := range All() {
		if b.Matches(s) {
			return b
		}
	}
	return generic.Board
}
