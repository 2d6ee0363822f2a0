package screen_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hinshun/vt10x"

	"beffroi.dev/appliance/rescue/screen"
)

func sample(clock string) *screen.Buffer {
	b := screen.New()
	b.Fill(0, 0, screen.Width, screen.Bar, ' ')
	b.Put(1, 0, screen.Bar, "BEFFROI")
	b.Put(70, 0, screen.Bar, clock)
	b.Fill(0, 2, screen.Width, screen.Dim, '─')
	for y := 3; y < screen.Height; y++ {
		b.Put(0, y, screen.Plain, strings.Repeat("é", screen.Width))
	}
	return b
}

// The terminal shows exactly the buffer after any order of changes.
func TestATerminalShowsTheBuffer(t *testing.T) {
	term := vt10x.New(vt10x.WithSize(screen.Width, screen.Height))
	var r screen.Renderer
	for i, b := range []*screen.Buffer{sample("03:00:00"), sample("03:00:01"), screen.New(), sample("03:00:02")} {
		out := r.Render(b)
		term.Write(out)
		if got, want := shown(term), b.Text(); got != want {
			t.Errorf("step %d: %s", i, cmp.Diff(want, got))
		}
		t.Logf("step %d: %d bytes", i, len(out))
		if i == 1 && len(out) > 40 {
			t.Errorf("a clock costs %d bytes: %q", len(out), out)
		}
	}
}

// Foreign writes are mended within 48 turns, each of them cheap.
func TestForeignWritesAreMended(t *testing.T) {
	term := vt10x.New(vt10x.WithSize(screen.Width, screen.Height))
	var r screen.Renderer
	b := sample("03:00:00")
	term.Write(r.Render(b))
	term.Write([]byte("\x1b[10;1H\x1b[31m[ 12.3] a kernel message\x1b[24;1H\r\nand another"))
	for range 48 {
		out := r.Heal(b)
		if len(out) >= 200 {
			t.Errorf("a turn costs %d bytes", len(out))
		}
		term.Write(out)
	}
	if got, want := shown(term), b.Text(); got != want {
		t.Error(cmp.Diff(want, got))
	}
}

func TestASCIISendsSevenBits(t *testing.T) {
	r := screen.Renderer{ASCII: true}
	b := screen.New()
	b.Put(0, 0, screen.Plain, "Nœud « été » : 37 % ─┌┐│ …")
	out := string(r.Render(b))
	if strings.ContainsFunc(out, func(c rune) bool { return c > '~' }) {
		t.Errorf("not ASCII: %q", out)
	}
	if want := `Noud " ete " : 37 % -++| .`; !strings.Contains(out, want) {
		t.Errorf("got %q, want %q", out, want)
	}
}

func TestForeignTextIsHarmless(t *testing.T) {
	got := screen.Clean("a\x1b[2Jb\tc\x00é\u0301漢\u202e\xff")
	if want := "a?[2Jb c?é???"; !strings.HasPrefix(got, "a?[2Jb c?é") || strings.ContainsAny(got, "\x1b\x00\u202e") {
		t.Errorf("got %q, like %q", got, want)
	}
}

func TestWrap(t *testing.T) {
	for _, tc := range []struct {
		text  string
		width int
		want  []string
	}{
		{"", 5, []string{""}},
		{"un deux trois", 8, []string{"un deux", "trois"}},
		{"fin\u00a0: oui", 6, []string{"fin\u00a0:", "oui"}},
		{"abcdefghij k", 4, []string{"abcd", "efgh", "ij k"}},
	} {
		if d := cmp.Diff(tc.want, screen.Wrap(tc.text, tc.width)); d != "" {
			t.Errorf("%q: %s", tc.text, d)
		}
	}
}

func TestKeys(t *testing.T) {
	char := func(r rune) screen.Key { return screen.Key{Rune: r} }
	code := func(c screen.Code) screen.Key { return screen.Key{Code: c} }
	for in, want := range map[string][]screen.Key{
		"mé€":                      {char('m'), char('é'), char('€')},
		"\r\n\n":                   {code(screen.Enter), code(screen.Enter)},
		"\x1bOP\x1b[12~\x1b[[A":    {code(screen.F1), code(screen.F2), code(screen.F1)},
		"\x1b[A\x1bOB\x1b[5~":      {code(screen.Up), code(screen.Down), code(screen.PageUp)},
		"\x1b\x1b[A":               {code(screen.Esc), code(screen.Up)},
		"\x7f\x08\x0c\x03":         {code(screen.Backspace), code(screen.Backspace), code(screen.Repaint), code(screen.Interrupt)},
		"\x1b[1;2;3;4;5;6;7;8;9Xa": {char('a')},
		"\xc3x\xffy":               {char('x'), char('y')},
		"\x1b":                     {code(screen.Esc)},
	} {
		var d screen.Decoder
		var got []screen.Key
		for i := range len(in) { // a serial line gives one byte at a time
			got = append(got, d.Feed([]byte{in[i]})...)
		}
		if d.Waiting() {
			got = append(got, d.Flush()...)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q: %s", in, diff)
		}
	}
}

// However bytes are cut, they give the same keys, and no more keys than bytes.
func FuzzDecoder(f *testing.F) {
	f.Add([]byte("m\x1b[A\x1b\x1bOPé\r\n"), 2)
	f.Add([]byte("\x1b[99999999999999999999~x"), 3)
	f.Fuzz(func(t *testing.T, in []byte, cut int) {
		var whole, parts screen.Decoder
		want := whole.Feed(in)
		cut = min(max(cut, 0), len(in))
		got := append(parts.Feed(in[:cut]), parts.Feed(in[cut:])...)
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
		if len(got)+len(parts.Flush()) > len(in) {
			t.Errorf("%d keys of %d bytes", len(got), len(in))
		}
	})
}

// Any text leaves the terminal showing the buffer.
func FuzzPut(f *testing.F) {
	f.Add("été\x1b[2J漢", 70, 23)
	f.Fuzz(func(t *testing.T, text string, x, y int) {
		term := vt10x.New(vt10x.WithSize(screen.Width, screen.Height))
		var r screen.Renderer
		b := screen.New()
		b.Put(x%100, y%30, screen.Warn, text)
		term.Write(r.Render(b))
		if d := cmp.Diff(b.Text(), shown(term)); d != "" {
			t.Error(d)
		}
	})
}

// shown is what the emulator displays.
func shown(term vt10x.Terminal) string {
	var out strings.Builder
	for y := range screen.Height {
		var line strings.Builder
		for x := range screen.Width {
			c := term.Cell(x, y).Char
			if c == 0 {
				c = ' '
			}
			line.WriteRune(c)
		}
		out.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	return out.String()
}
