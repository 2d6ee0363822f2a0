package casefile

import (
	"strings"
	"testing"
)

func TestACodeIsReadAsPeopleWriteIt(t *testing.T) {
	c := newCode()
	for _, s := range []string{c.String(), strings.ToLower(c.String()), string(c), " " + strings.Join(strings.Split(string(c), ""), " "), strings.ReplaceAll(string(c), "5", "s")} {
		if got, err := ParseCode(s); err != nil || got != c {
			t.Errorf("ParseCode(%q) = %q, %v; want %q", s, got, err, c)
		}
	}
}

func TestEveryWrongSymbolAndEverySwapIsFound(t *testing.T) {
	for range 50 {
		c := []byte(newCode())
		for i := range c {
			for _, s := range []byte(codeAlphabet) {
				if s == c[i] {
					continue
				}
				bad := append([]byte{}, c...)
				bad[i] = s
				if _, err := ParseCode(string(bad)); err == nil {
					t.Fatalf("%s passes for %s", bad, c)
				}
			}
			for j := range i {
				if c[i] == c[j] {
					continue
				}
				bad := append([]byte{}, c...)
				bad[i], bad[j] = bad[j], bad[i]
				if _, err := ParseCode(string(bad)); err == nil {
					t.Fatalf("%s passes for %s", bad, c)
				}
			}
		}
	}
}

func TestTokensHaveAForm(t *testing.T) {
	if err := CheckToken(NewToken()); err != nil {
		t.Error(err)
	}
	for _, s := range []string{"", "abc", strings.Repeat("a", 27), strings.Repeat("A", 26), strings.Repeat("1", 26)} {
		if CheckToken(s) == nil {
			t.Errorf("%q passes for a token", s)
		}
	}
}

func FuzzParseCode(f *testing.F) {
	f.Add(newCode().String())
	f.Add("")
	f.Fuzz(func(t *testing.T, s string) {
		c, err := ParseCode(s)
		if err != nil {
			return
		}
		if again, err := ParseCode(c.String()); err != nil || again != c {
			t.Fatalf("%q reads as %q and then as %q, %v", s, c, again, err)
		}
	})
}
