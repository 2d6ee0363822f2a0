package casefile_test

import (
	"fmt"
	"testing"
	"time"

	"beffroi.dev/pkg/citizen/casefile"
)

func TestAgentsFindCases(t *testing.T) {
	r := newRig(t)
	for i, place := range []string{"12 rue de la Poste", "4 allée des Érables", "100% rue_du Bac"} {
		f := filing(casefile.NewToken())
		f.Answers["lieu"] = place
		if i == 1 {
			f.Answers["categorie"] = "eau"
		}
		if _, err := r.File(t.Context(), f); err != nil {
			t.Fatal(err)
		}
	}
	_ = r.Do(t.Context(), casefile.Act{Token: casefile.NewToken(), Case: 3, Kind: casefile.KindClosed, Actor: "martin", Words: "Fait", Why: "done"})
	year := time.Now().Year()
	for _, tc := range []struct {
		name string
		f    casefile.Filter
		want []int64
	}{
		{"all, waiting first, new before old", casefile.Filter{}, []int64{2, 1, 3}},
		{"without accents", casefile.Filter{Words: "ERABLES"}, []int64{2}},
		{"two words", casefile.Filter{Words: "poste rue"}, []int64{1}},
		{"signs that SQL would read", casefile.Filter{Words: "100% rue_du"}, []int64{3}},
		{"only a sign", casefile.Filter{Words: "%"}, []int64{3}},
		{"a quote", casefile.Filter{Words: "'; DROP"}, nil},
		{"by number", casefile.Filter{Words: fmt.Sprintf("%d-00002", year)}, []int64{2}},
		{"by state", casefile.Filter{State: casefile.Closed}, []int64{3}},
		{"by category", casefile.Filter{Category: "eau"}, []int64{2}},
		{"a page beyond the end", casefile.Filter{Page: 9}, nil},
	} {
		l, err := r.List(t.Context(), tc.f)
		if err != nil {
			t.Fatalf("%s: %v", tc.name, err)
		}
		var got []int64
		for _, s := range l.Cases {
			got = append(got, s.ID)
		}
		if fmt.Sprint(got) != fmt.Sprint(tc.want) {
			t.Errorf("%s: got %v; want %v", tc.name, got, tc.want)
		}
	}
}
