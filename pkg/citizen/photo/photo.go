package photo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"

	"golang.org/x/image/draw"
)

// The bounds of an upload.
const (
	MaxBytes = 10 << 20
	// MaxPixels: a progressive JPEG needs about 14 bytes a pixel to decode, so
	// that one photo stays below 450 MB and the usual 12 megapixels need 170.
	MaxPixels = 32 << 20
	// maxPNG: a 16-bit PNG needs 8 bytes a pixel and compresses without limit.
	maxPNG = 16 << 20
	// Side is the longer side of what is kept.
	Side = 1600
	// quality 82 keeps a 1600 pixel street scene near 300 kB.
	quality = 82
	// atOnce is how many photos are decoded at a time, to bound memory.
	atOnce = 2
)

var (
	// ErrBytes is returned for more than MaxBytes.
	ErrBytes = errors.New("the file is larger than 10 MB")
	// ErrPixels is returned for an image with too many pixels.
	ErrPixels = errors.New("the image has too many pixels")
	// ErrKind is returned for what is neither JPEG nor PNG.
	ErrKind = errors.New("the file is neither a JPEG nor a PNG image")
	// ErrBroken is returned for an image that cannot be read to its end.
	ErrBroken = errors.New("the image is damaged")
)

// Photo is what is kept.
type Photo struct {
	JPEG          []byte
	Width, Height int
}

// Lab decodes a bounded number of photos at a time.
type Lab struct{ slots chan struct{} }

// NewLab makes a lab.
func NewLab() *Lab { return &Lab{slots: make(chan struct{}, atOnce)} }

// Develop makes a photo of an uploaded file. It waits for a free slot until ctx
// ends.
func (l *Lab) Develop(ctx context.Context, file []byte) (Photo, error) {
	if len(file) > MaxBytes {
		return Photo{}, ErrBytes
	}
	select {
	case l.slots <- struct{}{}:
		defer func() { <-l.slots }()
	case <-ctx.Done():
		return Photo{}, fmt.Errorf("wait to read a photo: %w", ctx.Err())
	}
	return develop(file)
}

func develop(file []byte) (Photo, error) {
	img, turn, err := decode(file)
	if err != nil {
		return Photo{}, err
	}
	w, h := fit(img.Bounds().Dx(), img.Bounds().Dy())
	small := image.NewRGBA(image.Rect(0, 0, w, h))
	draw.Draw(small, small.Bounds(), image.NewUniform(color.White), image.Point{}, draw.Src) // under transparency
	draw.ApproxBiLinear.Scale(small, small.Bounds(), img, img.Bounds(), draw.Over, nil)
	upright := turn.apply(small)
	var out bytes.Buffer
	if err := jpeg.Encode(&out, upright, &jpeg.Options{Quality: quality}); err != nil {
		return Photo{}, fmt.Errorf("encode photo: %w", err)
	}
	return Photo{JPEG: out.Bytes(), Width: upright.Bounds().Dx(), Height: upright.Bounds().Dy()}, nil
}

// decode reads dimensions before pixels, so that a small file cannot claim a
// large memory.
func decode(file []byte) (image.Image, orientation, error) {
	kind, limit, config, full := "JPEG", MaxPixels, jpeg.DecodeConfig, jpeg.Decode
	turn := upright
	switch {
	case bytes.HasPrefix(file, []byte("\xff\xd8\xff")):
		turn = readOrientation(file)
	case bytes.HasPrefix(file, []byte("\x89PNG\r\n\x1a\n")):
		kind, limit, config, full = "PNG", maxPNG, png.DecodeConfig, png.Decode
	default:
		return nil, upright, ErrKind
	}
	c, err := config(bytes.NewReader(file))
	if err != nil {
		return nil, upright, fmt.Errorf("%w: %s: %w", ErrBroken, kind, err)
	}
	if c.Width < 1 || c.Height < 1 || c.Width > limit/c.Height {
		return nil, upright, fmt.Errorf("%w: %d × %d", ErrPixels, c.Width, c.Height)
	}
	img, err := full(bytes.NewReader(file))
	if err != nil {
		return nil, upright, fmt.Errorf("%w: %s: %w", ErrBroken, kind, err)
	}
	return img, turn, nil
}

// fit returns the size of a w by h image whose longer side is at most Side.
func fit(w, h int) (int, int) {
	if m := max(w, h); m > Side {
		w, h = max(1, w*Side/m), max(1, h*Side/m)
	}
	return w, h
}
