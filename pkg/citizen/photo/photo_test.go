package photo

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"testing"
	"time"
)

// scene is w by h, red in its upper left quarter.
func scene(w, h int) *image.RGBA {
	m := image.NewRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			c := color.RGBA{20, 20, 220, 255}
			if x < w/2 && y < h/2 {
				c = color.RGBA{220, 20, 20, 255}
			}
			m.SetRGBA(x, y, c)
		}
	}
	return m
}

func asJPEG(t testing.TB, m image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := jpeg.Encode(&b, m, nil); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func asPNG(t testing.TB, m image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, m); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// withExif puts an EXIF segment with an orientation, and a secret, into a JPEG.
func withExif(file []byte, o uint16, order binary.AppendByteOrder) []byte {
	head := "II*\x00"
	if order == binary.AppendByteOrder(binary.BigEndian) {
		head = "MM\x00*"
	}
	b := append([]byte("Exif\x00\x00"), head...)
	b = order.AppendUint32(b, 8)
	b = order.AppendUint16(b, 2)
	for _, e := range [][2]uint16{{0x0100, 7}, {0x0112, o}} {
		b = order.AppendUint16(b, e[0])
		b = order.AppendUint16(b, 3)
		b = order.AppendUint32(b, 1)
		b = order.AppendUint16(b, e[1])
		b = order.AppendUint16(b, 0)
	}
	b = append(b, "GPS 48.8584 N 2.2945 E"...)
	seg := binary.BigEndian.AppendUint16([]byte{0xFF, 0xE1}, uint16(len(b)+2))
	return append(append(append([]byte{}, file[:2]...), append(seg, b...)...), file[2:]...)
}

func red(m image.Image, x, y int) bool {
	r, _, b, _ := m.At(x, y).RGBA()
	return r > b
}

func TestAPhotoStandsUprightWhateverTheCameraWrote(t *testing.T) {
	// Where the red quarter of the stored picture must be seen, for each value.
	for o, want := range map[uint16][2]bool{1: {true, true}, 2: {false, true}, 3: {false, false}, 4: {true, false}, 5: {true, true}, 6: {false, true}, 7: {false, false}, 8: {true, false}} {
		for _, order := range []binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian} {
			p, err := develop(withExif(asJPEG(t, scene(80, 40)), o, order))
			if err != nil {
				t.Fatal(err)
			}
			m, err := jpeg.Decode(bytes.NewReader(p.JPEG))
			if err != nil {
				t.Fatal(err)
			}
			w, h := m.Bounds().Dx(), m.Bounds().Dy()
			if tall := o >= 5; tall != (h > w) {
				t.Errorf("orientation %d: %d × %d", o, w, h)
			}
			x, y := w*3/4, h*3/4
			if want[0] {
				x = w / 4
			}
			if want[1] {
				y = h / 4
			}
			if !red(m, x, y) || red(m, w-x, h-y) {
				t.Errorf("orientation %d: the red quarter is elsewhere", o)
			}
		}
	}
}

func TestNothingHiddenSurvives(t *testing.T) {
	in := append(withExif(asJPEG(t, scene(64, 64)), 1, binary.LittleEndian), "<?php trailing()"...)
	p, err := develop(in)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"Exif", "GPS", "php"} {
		if bytes.Contains(p.JPEG, []byte(secret)) {
			t.Errorf("%q is still in the file", secret)
		}
	}
}

func TestALargePhotoIsMadeToFit(t *testing.T) {
	p, err := develop(asJPEG(t, scene(4000, 1000)))
	if err != nil {
		t.Fatal(err)
	}
	if p.Width != Side || p.Height != 400 {
		t.Errorf("got %d × %d; want 1600 × 400", p.Width, p.Height)
	}
}

// bomb is a PNG of a few bytes that claims w by h pixels.
func bomb(t testing.TB, w, h uint32) []byte {
	b := asPNG(t, scene(1, 1))
	binary.BigEndian.PutUint32(b[16:], w)
	binary.BigEndian.PutUint32(b[20:], h)
	binary.BigEndian.PutUint32(b[29:], crc32.ChecksumIEEE(b[12:29]))
	return b
}

func TestBadFilesAreRefusedWithTheRuleTheyBreak(t *testing.T) {
	whole := asJPEG(t, scene(300, 300))
	for _, tc := range []struct {
		name string
		file []byte
		want error
	}{
		{"nothing", nil, ErrKind},
		{"a GIF", []byte("GIF89a......"), ErrKind},
		{"a web page", []byte("<html>"), ErrKind},
		{"a JPEG cut short", whole[:len(whole)/2], ErrBroken},
		{"only the first bytes of a JPEG", whole[:3], ErrBroken},
		{"a decompression bomb", bomb(t, 60000, 60000), ErrPixels},
		{"a bomb that overflows", bomb(t, 1<<30, 1<<30), ErrBroken},
		{"a PNG that lies about its size", bomb(t, 100, 100), ErrBroken},
		{"more bytes than allowed", make([]byte, MaxBytes+1), ErrBytes},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := NewLab().Develop(t.Context(), tc.file); !errors.Is(err, tc.want) {
				t.Errorf("got %v; want %v", err, tc.want)
			}
		})
	}
}

func TestWaitingForASlotEndsWithTheRequest(t *testing.T) {
	l := NewLab()
	for range atOnce {
		l.slots <- struct{}{}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := l.Develop(ctx, asPNG(t, scene(2, 2))); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v; want the deadline", err)
	}
}

func TestATransparentImageIsLaidOnWhite(t *testing.T) {
	p, err := develop(asPNG(t, image.NewNRGBA(image.Rect(0, 0, 8, 8))))
	if err != nil {
		t.Fatal(err)
	}
	m, _ := jpeg.Decode(bytes.NewReader(p.JPEG))
	if r, g, b, _ := m.At(4, 4).RGBA(); min(r, g, b) < 0xf000 {
		t.Errorf("got %x %x %x; want white", r, g, b)
	}
}

func FuzzReadOrientation(f *testing.F) {
	f.Add(withExif(asJPEG(f, scene(8, 8)), 6, binary.LittleEndian))
	f.Add(withExif(asJPEG(f, scene(8, 8)), 3, binary.BigEndian))
	f.Add([]byte("\xff\xd8\xff\xe1\x00\x10Exif\x00\x00II*\x00\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if o := readOrientation(b); o < 1 || o > 8 {
			t.Fatalf("orientation %d", o)
		}
	})
}
