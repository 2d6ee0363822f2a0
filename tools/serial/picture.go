package serial

import (
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"io"

	"github.com/hinshun/vt10x"
	"golang.org/x/image/font"
	"golang.org/x/image/font/gofont/gomono"
	"golang.org/x/image/font/gofont/gomonobold"
	"golang.org/x/image/font/opentype"
	"golang.org/x/image/math/fixed"
)

// The picture: a cell's size, and the size of the letters in it.
const (
	cellWidth, cellHeight = 11, 22
	fontSize              = 18
	margin                = 12
)

// palette are the first sixteen colours as a terminal shows them.
var palette = [16]color.RGBA{
	{0x1c, 0x1f, 0x24, 255}, {0xcc, 0x55, 0x55, 255}, {0x6f, 0xbf, 0x73, 255}, {0xd8, 0xb2, 0x4c, 255},
	{0x6a, 0x9f, 0xd8, 255}, {0xb4, 0x8e, 0xc8, 255}, {0x63, 0xb8, 0xc0, 255}, {0xd8, 0xdc, 0xe0, 255},
	{0x6b, 0x72, 0x7a, 255}, {0xff, 0x6b, 0x68, 255}, {0x8f, 0xd8, 0x93, 255}, {0xf2, 0xcc, 0x60, 255},
	{0x8c, 0xbc, 0xf0, 255}, {0xd0, 0xa8, 0xe4, 255}, {0x84, 0xd4, 0xdc, 255}, {0xff, 0xff, 0xff, 255},
}

func paint(c vt10x.Color) color.RGBA {
	switch {
	case c < 16:
		return palette[c]
	case c == vt10x.DefaultBG:
		return palette[0]
	}
	return palette[7]
}

// Picture writes what the terminal shows as a PNG.
func (l *Line) Picture(w io.Writer) error {
	faces := [2]font.Face{}
	for i, ttf := range [][]byte{gomono.TTF, gomonobold.TTF} {
		f, err := opentype.Parse(ttf)
		if err != nil {
			return fmt.Errorf("picture: %w", err)
		}
		if faces[i], err = opentype.NewFace(f, &opentype.FaceOptions{Size: fontSize, DPI: 72, Hinting: font.HintingFull}); err != nil {
			return fmt.Errorf("picture: %w", err)
		}
	}
	img := image.NewRGBA(image.Rect(0, 0, Width*cellWidth+2*margin, Height*cellHeight+2*margin))
	draw.Draw(img, img.Bounds(), image.NewUniform(palette[0]), image.Point{}, draw.Src)
	l.mu.Lock()
	defer l.mu.Unlock()
	for y := range Height {
		for x := range Width {
			g := l.term.Cell(x, y)
			at := image.Pt(margin+x*cellWidth, margin+y*cellHeight)
			cell := image.Rectangle{at, at.Add(image.Pt(cellWidth, cellHeight))}
			draw.Draw(img, cell, image.NewUniform(paint(g.BG)), image.Point{}, draw.Src)
			if g.Char <= ' ' {
				continue
			}
			if g.Char == '─' { // a line has no gap between two cells
				mid := image.Rect(at.X, at.Y+cellHeight/2, at.X+cellWidth, at.Y+cellHeight/2+1)
				draw.Draw(img, mid, image.NewUniform(paint(g.FG)), image.Point{}, draw.Src)
				continue
			}
			face := faces[0]
			if bold := g.Mode&4 != 0; bold {
				face = faces[1]
			}
			d := font.Drawer{Dst: img, Src: image.NewUniform(paint(g.FG)), Face: face, Dot: fixed.P(at.X, at.Y+cellHeight-6)}
			d.DrawString(string(g.Char))
		}
	}
	if err := png.Encode(w, img); err != nil {
		return fmt.Errorf("picture: %w", err)
	}
	return nil
}
