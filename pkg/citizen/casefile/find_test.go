package casefile_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"beffroi.dev/pkg/citizen/casefile"
	"beffroi.dev/pkg/citizen/store"
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

// A page of the list costs the same however many cases there are: none is sorted.
func TestAPageOfTheListSortsNothing(t *testing.T) {
	r := newRig(t)
	for _, f := range []casefile.Filter{{}, {Words: "rue"}, {Category: "eau"}} {
		query, args := casefile.PageQuery(f)
		var plan strings.Builder
		if err := r.st.Read(t.Context(), "explain", func(ctx context.Context, tx *store.Tx) error {
			rows, err := tx.QueryContext(ctx, "EXPLAIN QUERY PLAN "+query, args...)
			if err != nil {
				return err
			}
			defer rows.Close()
			for rows.Next() {
				var id, parent, unused int
				var detail string
				if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
					return err
				}
				plan.WriteString(detail + "\n")
			}
			return rows.Err()
		}); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(plan.String(), "casefile_by_work") || strings.Contains(plan.String(), "TEMP B-TREE") {
			t.Errorf("%+v:\n%s", f, plan.String())
		}
	}
}
