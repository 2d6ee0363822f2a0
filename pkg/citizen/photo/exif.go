package photo

import (
	"bytes"
	"encoding/binary"
	"image"
)

// orientation is the EXIF value 1 to 8: how the stored rows and columns must be
// turned to stand upright.
type orientation uint8

const upright orientation = 1

// exifSegments bounds the search: EXIF stands first in every camera's file.
const exifSegments = 16

// readOrientation finds the orientation in a JPEG file. Anything missing,
// damaged or out of range reads as upright: a wrong turn is a nuisance, never a
// reason to refuse.
func readOrientation(jpeg []byte) orientation {
	p := jpeg
	if len(p) < 2 {
		return upright
	}
	p = p[2:]
	for range exifSegments {
		if len(p) < 4 || p[0] != 0xFF || p[1] == 0xDA {
			return upright
		}
		n := int(binary.BigEndian.Uint16(p[2:]))
		if n < 2 || n+2 > len(p) {
			return upright
		}
		if body := p[4 : n+2]; p[1] == 0xE1 && bytes.HasPrefix(body, []byte("Exif\x00\x00")) {
			return tiffOrientation(body[6:])
		}
		p = p[n+2:]
	}
	return upright
}

// tiffOrientation reads tag 0x0112 of the first directory of a TIFF header.
func tiffOrientation(t []byte) orientation {
	if len(t) < 8 {
		return upright
	}
	var order binary.ByteOrder
	switch string(t[:4]) {
	case "II*\x00":
		order = binary.LittleEndian
	case "MM\x00*":
		order = binary.BigEndian
	default:
		return upright
	}
	at := uint64(order.Uint32(t[4:]))
	if at+2 > uint64(len(t)) {
		return upright
	}
	count := int(order.Uint16(t[at:]))
	entries := t[at+2:]
	for i := 0; i < count && len(entries) >= 12; i++ {
		e := entries[:12]
		entries = entries[12:]
		// tag, type SHORT, one value, kept in the entry itself
		if order.Uint16(e) == 0x0112 && order.Uint16(e[2:]) == 3 && order.Uint32(e[4:]) == 1 {
			if v := order.Uint16(e[8:]); v >= 1 && v <= 8 {
				return orientation(v)
			}
			return upright
		}
	}
	return upright
}

// apply turns an image upright.
func (o orientation) apply(in *image.RGBA) *image.RGBA {
	if o == upright {
		return in
	}
	w, h := in.Bounds().Dx(), in.Bounds().Dy()
	size := image.Rect(0, 0, w, h)
	if o >= 5 {
		size = image.Rect(0, 0, h, w)
	}
	out := image.NewRGBA(size)
	for y := range size.Dy() {
		for x := range size.Dx() {
			sx, sy := o.source(x, y, w, h)
			copy(out.Pix[out.PixOffset(x, y):][:4], in.Pix[in.PixOffset(sx, sy):][:4])
		}
	}
	return out
}

// source tells which stored pixel stands at (x, y) of the upright image.
func (o orientation) source(x, y, w, h int) (int, int) {
	switch o {
	case 2: // mirrored
		return w - 1 - x, y
	case 3: // upside down
		return w - 1 - x, h - 1 - y
	case 4: // mirrored, upside down
		return x, h - 1 - y
	case 5: // mirrored, turned
		return y, x
	case 6: // turn right
		return y, h - 1 - x
	case 7: // mirrored, turned the other way
		return w - 1 - y, h - 1 - x
	case 8: // turn left
		return w - 1 - y, x
	}
	return x, y
}
