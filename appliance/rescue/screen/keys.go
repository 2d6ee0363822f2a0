package screen

import (
	"bytes"
	"unicode"
	"unicode/utf8"
)

// Code says which key; Char is one that types a character.
type Code uint8

// The keys that are understood; all others are dropped.
const (
	Char Code = iota
	Enter
	Esc
	Backspace
	Tab
	Up
	Down
	Left
	Right
	PageUp
	PageDown
	Home
	End
	F1
	F2
	F3
	Repaint   // Ctrl-L
	Interrupt // Ctrl-C
)

// Key is one key stroke.
type Key struct {
	Code Code
	Rune rune // of Char
}

// maxSequence bounds an escape sequence: no terminal has keys longer than this,
// and what is longer is noise on the line.
const maxSequence = 16

// Decoder turns what a terminal sends into keys. It holds at most maxSequence
// bytes between two calls.
type Decoder struct {
	pending []byte
	skip    bool // inside a sequence that is too long, until its end
	cr      bool // the last byte was a carriage return: a newline after it is no key
}

// Waiting says that bytes are held that may be a key of their own: call Flush when
// no more have come for a while.
func (d *Decoder) Waiting() bool { return len(d.pending) > 0 || d.skip }

// Flush ends what was begun: a lone escape byte is the Esc key.
func (d *Decoder) Flush() []Key {
	p := d.pending
	d.pending, d.skip = nil, false
	if len(p) == 1 && p[0] == 0x1b {
		return []Key{{Code: Esc}}
	}
	return nil
}

// Feed decodes more bytes.
func (d *Decoder) Feed(b []byte) []Key {
	var keys []Key
	for _, c := range b {
		if k, ok := d.byte(c); ok {
			keys = append(keys, k...)
		}
	}
	return keys
}

func (d *Decoder) byte(c byte) ([]Key, bool) {
	if d.skip {
		d.skip = c < 0x40 || c > 0x7e
		return nil, false
	}
	if len(d.pending) == 0 {
		return d.first(c)
	}
	if d.pending[0] != 0x1b {
		return d.letter(c)
	}
	if c == 0x1b { // the first was a key of its own, or noise
		keys := d.Flush()
		d.pending = []byte{c}
		return keys, len(keys) > 0
	}
	d.pending = append(d.pending, c)
	if !ended(d.pending) {
		if len(d.pending) == maxSequence {
			d.pending, d.skip = nil, true
		}
		return nil, false
	}
	code, ok := sequences[string(d.pending[1:])]
	d.pending = nil
	return []Key{{Code: code}}, ok
}

// first decodes a byte that begins something.
func (d *Decoder) first(c byte) ([]Key, bool) {
	after := d.cr
	d.cr = c == '\r'
	switch {
	case c == '\n' && after:
		return nil, false
	case c == '\r', c == '\n':
		return []Key{{Code: Enter}}, true
	case c == 0x08, c == 0x7f:
		return []Key{{Code: Backspace}}, true
	case c == '\t':
		return []Key{{Code: Tab}}, true
	case c == 0x0c:
		return []Key{{Code: Repaint}}, true
	case c == 0x03:
		return []Key{{Code: Interrupt}}, true
	case c == 0x1b, c >= 0xc2 && c <= 0xf4: // an escape, or the start of a UTF-8 letter
		d.pending = append(d.pending[:0], c)
		return nil, false
	case c >= ' ' && c < 0x7f:
		return []Key{{Rune: rune(c)}}, true
	}
	return nil, false
}

// letter goes on with a UTF-8 letter; a byte that does not continue it starts anew.
func (d *Decoder) letter(c byte) ([]Key, bool) {
	if c&0xc0 != 0x80 {
		d.pending = nil
		return d.first(c)
	}
	d.pending = append(d.pending, c)
	if !utf8.FullRune(d.pending) {
		return nil, false
	}
	r, _ := utf8.DecodeRune(d.pending)
	d.pending = nil
	return []Key{{Rune: r}}, r != utf8.RuneError && unicode.IsPrint(r)
}

// ended says whether an escape sequence is whole.
func ended(p []byte) bool {
	last := p[len(p)-1]
	switch {
	case len(p) == 2:
		return last != '[' && last != 'O'
	case len(p) == 3 && bytes.HasPrefix(p, []byte("\x1b[[")): // the Linux console's F1 to F5
		return false
	}
	return last >= 0x40 && last <= 0x7e
}

// sequences are the keys of VT100, VT220, xterm and the Linux console, without
// their escape byte.
var sequences = map[string]Code{
	"[A": Up, "[B": Down, "[C": Right, "[D": Left, "OA": Up, "OB": Down, "OC": Right, "OD": Left,
	"[H": Home, "[F": End, "OH": Home, "OF": End, "[1~": Home, "[4~": End, "[7~": Home, "[8~": End,
	"[5~": PageUp, "[6~": PageDown, "[3~": Backspace, "[Z": Up,
	"OP": F1, "OQ": F2, "OR": F3, "[11~": F1, "[12~": F2, "[13~": F3, "[[A": F1, "[[B": F2, "[[C": F3,
}
