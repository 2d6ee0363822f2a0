package agent

import "testing"

func FuzzParseHash(f *testing.F) {
	f.Add(hashPassword("un mot de passe assez long"))
	f.Add("$argon2id$v=19$m=4294967295,t=4294967295,p=255$AAAA$AAAA")
	f.Fuzz(func(t *testing.T, s string) {
		p, err := parseHash(s)
		if err == nil && (p.memory > 256<<10 || p.passes > 16) {
			t.Fatalf("accepted a cost of %d KiB and %d passes", p.memory, p.passes)
		}
	})
}

func TestAPasswordMatchesItselfOnly(t *testing.T) {
	p, err := parseHash(hashPassword("correct horse battery"))
	if err != nil {
		t.Fatal(err)
	}
	if !p.matches("correct horse battery") || p.matches("correct horse batterz") || p.matches("") {
		t.Error("wrong match")
	}
}
