// Package qr draws QR codes for a screen: as an SVG path, and for a terminal. The
// quiet zone that readers need is part of what is drawn.
package qr

import (
	"fmt"
	"strings"

	"github.com/boombuler/barcode/qr"
)

// Quiet is how many light modules surround a code.
const Quiet = 4

// Level is how much of a code may be unreadable.
type Level byte

// The levels. A code on a screen takes no harm, and Low makes the smallest; Medium is
// for what may be printed.
const (
	Low    = Level(qr.L)
	Medium = Level(qr.M)
)

// Code is a QR code.
type Code struct {
	side int // without the quiet zone
	dark []bool
}

// Encode makes the code of a text.
func Encode(text string, level Level) (*Code, error) {
	image, err := qr.Encode(text, qr.ErrorCorrectionLevel(level), qr.Auto)
	if err != nil {
		return nil, fmt.Errorf("draw QR code: %w", err)
	}
	b := image.Bounds()
	c := &Code{side: b.Dx(), dark: make([]bool, b.Dx()*b.Dx())}
	for i := range c.dark {
		r, _, _, _ := image.At(b.Min.X+i%c.side, b.Min.Y+i/c.side).RGBA()
		c.dark[i] = r <= 0x7fff
	}
	return c, nil
}

// Side is the width and the height in modules, with the quiet zone.
func (c *Code) Side() int { return c.side + 2*Quiet }

// Dark tells whether a module is dark; those outside are light.
func (c *Code) Dark(x, y int) bool {
	x, y = x-Quiet, y-Quiet
	return x >= 0 && y >= 0 && x < c.side && y < c.side && c.dark[y*c.side+x]
}

// Path is the data of an SVG path, one unit a module: one subpath for each run of dark
// modules.
func (c *Code) Path() string {
	var b strings.Builder
	for y := range c.Side() {
		for x := 0; x < c.Side(); x++ {
			start := x
			for c.Dark(x, y) {
				x++
			}
			if x > start {
				fmt.Fprintf(&b, "M%d %dh%dv1h-%dz", start, y, x-start, x-start)
			}
		}
	}
	return b.String()
}

// Terminal colours: whatever theme a terminal has, a code is black on white.
const (
	ink   = "\x1b[38;5;16;48;5;231m"
	reset = "\x1b[0m"
)

// Terminal draws with half blocks, two modules a character.
func (c *Code) Terminal() string {
	halves := map[[2]bool]string{{false, false}: " ", {true, false}: "▀", {false, true}: "▄", {true, true}: "█"}
	var b strings.Builder
	for y := 0; y < c.Side(); y += 2 {
		b.WriteString(ink)
		for x := range c.Side() {
			b.WriteString(halves[[2]bool{c.Dark(x, y), c.Dark(x, y+1)}])
		}
		b.WriteString(reset + "\n")
	}
	return b.String()
}
