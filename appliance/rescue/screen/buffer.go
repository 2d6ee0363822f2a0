package screen

import (
	"strings"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// The size of every screen: what all serial terminals can show.
const (
	Width  = 80
	Height = 24
)

// Style is how a cell looks. It never carries a meaning that the text lacks.
type Style uint8

// The styles. The renderer knows their escape sequences.
const (
	Plain Style = iota
	Bold
	Bar  // reverse: title, bottom line, the chosen entry
	Good // green
	Warn // yellow
	Bad  // red, bold
	Dim  // cyan: labels and rules
	styleCount
)

// Cell is one character place.
type Cell struct {
	Rune  rune
	Style Style
}

// Buffer is a whole screen. The zero value is not blank; call New or Clear.
type Buffer struct {
	cells   [Height][Width]Cell
	cursorX int
	cursorY int
	cursor  bool
}

// New makes a blank screen without a cursor.
func New() *Buffer {
	b := &Buffer{}
	b.Clear()
	return b
}

// Clear blanks the screen and hides the cursor.
func (b *Buffer) Clear() {
	for y := range b.cells {
		for x := range b.cells[y] {
			b.cells[y][x] = Cell{Rune: ' '}
		}
	}
	b.cursor = false
}

// Put writes text from a place to the right, and returns the column after it.
// What does not fit is left out; a caller that must not lose text wraps it first.
func (b *Buffer) Put(x, y int, s Style, text string) int {
	for _, r := range Clean(text) {
		if y < 0 || y >= Height || x >= Width {
			return x
		}
		if x >= 0 && (x < Width-1 || y < Height-1) {
			b.cells[y][x] = Cell{Rune: r, Style: s}
		}
		x++
	}
	return x
}

// Fill gives n cells one character.
func (b *Buffer) Fill(x, y, n int, s Style, r rune) {
	b.Put(x, y, s, strings.Repeat(string(r), max(n, 0)))
}

// Cursor shows the cursor at a place, for a field that is typed into.
func (b *Buffer) Cursor(x, y int) {
	b.cursorX, b.cursorY, b.cursor = min(max(x, 0), Width-1), min(max(y, 0), Height-1), true
}

// Line is the text of a row, without the blanks at its end.
func (b *Buffer) Line(y int) string {
	var out strings.Builder
	for _, c := range b.cells[y] {
		out.WriteRune(c.Rune)
	}
	return strings.TrimRight(out.String(), " ")
}

// Text is all rows, each ended by a newline.
func (b *Buffer) Text() string {
	var out strings.Builder
	for y := range Height {
		out.WriteString(b.Line(y))
		out.WriteByte('\n')
	}
	return out.String()
}

// Clean makes text safe to put: composed, and every character that is not known
// to fill exactly one cell on all terminals is replaced by a question mark.
func Clean(text string) string {
	plain := true
	for i := range len(text) {
		plain = plain && text[i] >= ' ' && text[i] < 0x7f
	}
	if plain {
		return text
	}
	return strings.Map(func(r rune) rune {
		if r == '\t' || r == '\n' || r == '\r' {
			return ' '
		}
		if !known(r) {
			return '?'
		}
		return r
	}, norm.NFC.String(strings.ToValidUTF8(text, "?")))
}

// known characters: what the Linux console font and every serial program have.
func known(r rune) bool {
	switch {
	case r >= ' ' && r < 0x7f, r >= 0xa0 && r <= 0x17f && r != 0xad: // Latin, without the soft hyphen
		return true
	}
	return strings.ContainsRune("’“”…–—€─│┌┐└┘├┤┬┴┼█░", r)
}

// Columns is how many cells text takes.
func Columns(text string) int { return utf8.RuneCountInString(Clean(text)) }

// Wrap breaks text into lines of at most width cells, at blanks where it can. A
// no-break space holds its words together. There is always at least one line.
func Wrap(text string, width int) []string {
	var lines []string
	line := []rune{}
	for word := range strings.SplitSeq(Clean(text), " ") {
		w := []rune(word)
		if len(line) > 0 && len(line)+1+len(w) > width {
			lines, line = append(lines, string(line)), nil
		} else if len(line) > 0 {
			line = append(line, ' ')
		}
		for len(w) > width { // one word alone is longer than a line
			lines, w = append(lines, string(w[:width])), w[width:]
		}
		line = append(line, w...)
	}
	return append(lines, string(line))
}
