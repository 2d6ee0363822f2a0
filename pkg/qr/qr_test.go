package qr_test

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"beffroi.dev/pkg/qr"
)

// matrix is what is drawn, without the quiet zone.
type matrix [][]bool

func square(side int) matrix {
	m := make(matrix, side)
	for i := range m {
		m[i] = make([]bool, side)
	}
	return m
}

// crop takes the quiet zone off, which must be light.
func (m matrix) crop(t *testing.T) matrix {
	t.Helper()
	n := len(m) - qr.Quiet
	out := square(n - qr.Quiet)
	for y, row := range m {
		for x, dark := range row {
			if x >= qr.Quiet && y >= qr.Quiet && x < n && y < n {
				out[y-qr.Quiet][x-qr.Quiet] = dark
			} else if dark {
				t.Fatalf("the quiet zone is dark at %d, %d", x, y)
			}
		}
	}
	return out
}

// fromPath reads what an SVG path fills.
func fromPath(t *testing.T, c *qr.Code) matrix {
	t.Helper()
	m := square(c.Side())
	run := regexp.MustCompile(`M(\d+) (\d+)h(\d+)v1h-(\d+)z`)
	if rest := run.ReplaceAllString(c.Path(), ""); rest != "" {
		t.Fatalf("the path holds %q too", rest)
	}
	for _, s := range run.FindAllStringSubmatch(c.Path(), -1) {
		x, _ := strconv.Atoi(s[1])
		y, _ := strconv.Atoi(s[2])
		w, _ := strconv.Atoi(s[3])
		if s[3] != s[4] {
			t.Fatalf("a run that does not close: %s", s[0])
		}
		for i := range w {
			m[y][x+i] = true
		}
	}
	return m
}

// fromTerminal reads what half blocks show.
func fromTerminal(t *testing.T, c *qr.Code) matrix {
	t.Helper()
	m := square(c.Side())
	lines := strings.Split(strings.TrimSuffix(c.Terminal(), "\n"), "\n")
	if len(lines) != (c.Side()+1)/2 {
		t.Fatalf("%d lines for %d modules", len(lines), c.Side())
	}
	for i, line := range lines {
		text, ok := strings.CutPrefix(line, "\x1b[38;5;16;48;5;231m")
		text, end := strings.CutSuffix(text, "\x1b[0m")
		if !ok || !end || len([]rune(text)) != c.Side() {
			t.Fatalf("line %d: %q", i, line)
		}
		for x, r := range []rune(text) {
			k := strings.IndexRune(" ▀▄█", r)
			upper, lower := r == '▀' || r == '█', r == '▄' || r == '█'
			if m[2*i][x] = upper; k < 0 || lower && 2*i+1 >= c.Side() {
				t.Fatalf("line %d: %q", i, line)
			}
			if 2*i+1 < c.Side() {
				m[2*i+1][x] = lower
			}
		}
	}
	return m
}

// blocks are the data codewords of each block, by version and level (ISO 18004, table 9).
var blocks = map[string][]int{
	"1L": {19}, "2L": {34}, "3L": {55}, "4L": {80}, "5L": {108}, "6L": {68, 68}, "7L": {78, 78}, "8L": {97, 97},
	"1M": {16}, "2M": {28}, "3M": {44}, "4M": {32, 32}, "5M": {43, 43}, "6M": {27, 27, 27, 27}, "7M": {31, 31, 31, 31}, "8M": {38, 38, 39, 39},
}

// read is a reader of undamaged codes up to version 8.
func (m matrix) read(t *testing.T) string {
	t.Helper()
	n := len(m)
	version := (n - 17) / 4
	format := 0
	for _, at := range [][2]int{{0, 8}, {1, 8}, {2, 8}, {3, 8}, {4, 8}, {5, 8}, {7, 8}, {8, 8}, {8, 7}, {8, 5}, {8, 4}, {8, 3}, {8, 2}, {8, 1}, {8, 0}} {
		format <<= 1
		if m[at[1]][at[0]] {
			format |= 1
		}
	}
	format ^= 0x5412
	level := map[int]string{1: "L", 0: "M"}[format>>13]
	sizes := blocks[fmt.Sprint(version)+level]
	if sizes == nil {
		t.Fatalf("version %d, level %q", version, level)
	}
	var words []byte
	var bits, have int
	up := true
	for right := n - 1; right > 0; right -= 2 {
		if right == 6 {
			right--
		}
		for i := range n {
			y := i
			if up {
				y = n - 1 - i
			}
			for _, x := range []int{right, right - 1} {
				if fixed(x, y, n, version) {
					continue
				}
				if bits <<= 1; m[y][x] != masked(format>>10&7, x, y) {
					bits |= 1
				}
				if have++; have%8 == 0 {
					words = append(words, byte(bits))
					bits = 0
				}
			}
		}
		up = !up
	}
	data := make([][]byte, len(sizes))
	for i, next := 0, 0; i < slices.Max(sizes); i++ {
		for b, size := range sizes {
			if i < size {
				data[b] = append(data[b], words[next])
				next++
			}
		}
	}
	all := slices.Concat(data...)
	if all[0]>>4 != 4 {
		t.Fatalf("mode %d; want bytes", all[0]>>4)
	}
	length := int(all[0]&15)<<4 | int(all[1]>>4)
	out := make([]byte, length)
	for i := range out {
		out[i] = all[i+1]<<4 | all[i+2]>>4
	}
	return string(out)
}

// fixed tells whether a module is part of a pattern, or of the format or the version.
func fixed(x, y, n, version int) bool {
	switch {
	case x == 6 || y == 6, x < 9 && y < 9, x < 9 && y >= n-8, x >= n-8 && y < 9:
		return true
	case version >= 7 && (x < 6 && y >= n-11 || y < 6 && x >= n-11):
		return true
	case version < 2:
		return false
	}
	centres := []int{6, n - 7}
	if version >= 7 {
		centres = []int{6, (n - 1) / 2, n - 7}
	}
	for _, cx := range centres {
		for _, cy := range centres {
			corner := cx == 6 && cy == 6 || cx == 6 && cy == n-7 || cx == n-7 && cy == 6
			if !corner && max(x-cx, cx-x) <= 2 && max(y-cy, cy-y) <= 2 {
				return true
			}
		}
	}
	return false
}

func masked(mask, x, y int) bool {
	return []bool{
		(x+y)%2 == 0, y%2 == 0, x%3 == 0, (x+y)%3 == 0, (y/2+x/3)%2 == 0, x*y%2+x*y%3 == 0, (x*y%2+x*y%3)%2 == 0, ((x+y)%2+x*y%3)%2 == 0,
	}[mask]
}

func TestWhatIsDrawnIsRead(t *testing.T) {
	const uri = "otpauth://totp/Valmont:martin?algorithm=SHA1&digits=6&issuer=Valmont&period=30&secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
	for _, level := range []qr.Level{qr.Low, qr.Medium} {
		for _, text := range []string{"bonjour", uri, uri + "&image=", strings.Repeat("x", 33), strings.Repeat("accentué ", 12)} {
			c, err := qr.Encode(text, level)
			if err != nil {
				t.Fatal(err)
			}
			if got := fromPath(t, c).crop(t).read(t); got != text {
				t.Errorf("the path of %q is read as %q", text, got)
			}
			if got := fromTerminal(t, c).crop(t).read(t); got != text {
				t.Errorf("the half blocks of %q are read as %q", text, got)
			}
		}
	}
}

func TestWhatDoesNotFitIsSaid(t *testing.T) {
	if _, err := qr.Encode(strings.Repeat("x", 5000), qr.Low); err == nil {
		t.Error("5000 letters were drawn")
	}
}
