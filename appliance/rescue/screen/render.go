package screen

import (
	"strconv"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// healCells is how many cells Heal sends: half a row, so that a second costs little
// and the whole screen is mended in 48.
const healCells = Width / 2

// gapCells is the widest unchanged gap that is written again instead of jumped
// over: a jump costs about as many bytes.
const gapCells = 6

// sgr selects each style, from any other.
var sgr = [styleCount]string{
	Plain: "\x1b[0m", Bold: "\x1b[0;1m", Bar: "\x1b[0;7m",
	Good: "\x1b[0;32m", Warn: "\x1b[0;33m", Bad: "\x1b[0;1;31m", Dim: "\x1b[0;36m",
}

// Reset ends the use of a screen: it gives a shell a terminal as it expects it.
const Reset = "\x1b[0m\x1b[?7h\x1b[?25h\x1b[2J\x1b[H"

// Renderer knows what a terminal shows and brings it to a Buffer. Not for
// concurrent use: one writer owns it.
type Renderer struct {
	ASCII   bool // 7-bit only: for terminals without UTF-8
	OwnFont bool // the kernel's font on a screen: code page 437 has no typographic marks

	shown   Buffer
	valid   bool // shown is what the terminal shows
	style   Style
	x, y    int // of the terminal's cursor; x < 0: not known
	visible bool
	heal    int // next cell that Heal sends
	out     []byte
}

// Invalidate says that the terminal may show anything: the next Render repaints.
func (r *Renderer) Invalidate() { r.valid = false }

// Render returns the bytes that make the terminal show b. They are valid until the
// next call.
func (r *Renderer) Render(b *Buffer) []byte {
	r.out = r.out[:0]
	if !r.valid {
		r.out = append(r.out, "\x1b[?25l\x1b[?7l\x1b[0m\x1b[2J"...)
		r.shown.Clear()
		r.style, r.x, r.visible, r.valid = Plain, -1, false, true
	}
	for y := range Height {
		r.row(b, y)
	}
	r.finish(b)
	return r.out
}

// Heal is Render that also sends some cells again although they should be there:
// kernel messages and terminals that were plugged in late are mended by and by.
func (r *Renderer) Heal(b *Buffer) []byte {
	if r.valid {
		y, x := r.heal/Width, r.heal%Width
		for i := x; i < x+healCells; i++ {
			r.shown.cells[y][i].Rune = 0
		}
		r.heal = (r.heal + healCells) % (Width * Height)
		r.x = -1 // what wrote there has moved the cursor, and may have changed the style
		r.style = styleCount
	}
	return r.Render(b)
}

// row sends the cells of a row that differ.
func (r *Renderer) row(b *Buffer, y int) {
	for x := 0; x < Width; x++ {
		if b.cells[y][x] == r.shown.cells[y][x] || x == Width-1 && y == Height-1 {
			continue
		}
		if r.y == y && r.x >= 0 && r.x < x && x-r.x <= gapCells {
			for ; r.x < x; r.x++ {
				r.cell(b.cells[y][r.x])
			}
		} else if r.y != y || r.x != x {
			r.move(x, y)
		}
		r.cell(b.cells[y][x])
		r.shown.cells[y][x] = b.cells[y][x]
		if r.x = x + 1; r.x == Width {
			r.x = -1 // terminals differ on where the cursor is now
		}
	}
}

func (r *Renderer) move(x, y int) {
	r.out = append(r.out, "\x1b["...)
	r.out = strconv.AppendInt(r.out, int64(y+1), 10)
	if x > 0 {
		r.out = append(r.out, ';')
		r.out = strconv.AppendInt(r.out, int64(x+1), 10)
	}
	r.out = append(r.out, 'H')
	r.x, r.y = x, y
}

func (r *Renderer) cell(c Cell) {
	if c.Style != r.style {
		r.out = append(r.out, sgr[c.Style]...)
		r.style = c.Style
	}
	if r.ASCII && c.Rune > '~' || r.OwnFont && strings.ContainsRune("“”–—…", c.Rune) {
		r.out = append(r.out, plain(c.Rune))
		return
	}
	r.out = append(r.out, string(c.Rune)...)
}

// finish places the cursor.
func (r *Renderer) finish(b *Buffer) {
	if b.cursor && (r.x != b.cursorX || r.y != b.cursorY) {
		r.move(b.cursorX, b.cursorY)
	}
	if b.cursor != r.visible {
		r.visible = b.cursor
		if b.cursor {
			r.out = append(r.out, "\x1b[?25h"...)
		} else {
			r.out = append(r.out, "\x1b[?25l"...)
		}
	}
}

// plain is the nearest 7-bit character: one cell stays one cell.
func plain(c rune) byte {
	switch {
	case c == 0xa0:
		return ' '
	case strings.ContainsRune("─–—", c):
		return '-'
	case c == '│':
		return '|'
	case c == '█':
		return '#'
	case c == '░', c == '·', c == '…':
		return '.'
	case c >= '┌' && c <= '┼':
		return '+'
	case strings.ContainsRune("«»“”", c):
		return '"'
	case c == '’':
		return '\''
	case c == 'œ', c == 'Œ': // two letters have no room
		return "oO"[btoi(c == 'Œ')]
	}
	if base := []rune(norm.NFD.String(string(c)))[0]; base <= '~' && unicode.IsPrint(base) {
		return byte(base)
	}
	return '?'
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}
