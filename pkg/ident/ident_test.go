package ident_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"beffroi.dev/pkg/ident"
)

func TestNamesAreShortLowerCaseAndPlain(t *testing.T) {
	for _, tc := range []struct {
		name string
		ok   bool
	}{
		{"a", true}, {"etat-civil", true}, {"vm1", true}, {strings.Repeat("a", ident.MaxName), true},
		{"", false}, {"1vm", false}, {"-a", false}, {"a-", false}, {"Mairie", false}, {"a b", false}, {"é", false},
		{"../etc", false}, {strings.Repeat("a", ident.MaxName+1), false},
	} {
		err := ident.CheckName(tc.name)
		if got := err == nil; got != tc.ok {
			t.Errorf("CheckName(%q) = %v; want allowed %v", tc.name, err, tc.ok)
		}
		if err != nil && !errors.Is(err, ident.ErrName) {
			t.Errorf("CheckName(%q): error does not wrap ErrName", tc.name)
		}
	}
}

func TestIdentitiesSurviveJSON(t *testing.T) {
	type doc struct {
		N map[ident.Node]ident.UUID
		Z ident.Node
	}
	want := doc{N: map[ident.Node]ident.UUID{ident.NewNode(): ident.NewUUID()}}
	b, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got doc
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	for n, u := range want.N {
		if got.N[n] != u {
			t.Errorf("node %v: got %v; want %v", n, got.N[n], u)
		}
	}
}

func TestParseNodeRefusesOtherForms(t *testing.T) {
	for _, s := range []string{"", "0", "0000000000000000", "12345678", "zzzzzzzzzzzzzzzz", "00000000000000001"} {
		if n, err := ident.ParseNode(s); err == nil {
			t.Errorf("ParseNode(%q) = %v; want an error", s, n)
		}
	}
}
