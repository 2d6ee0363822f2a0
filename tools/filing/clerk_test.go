package filing

import (
	"strings"
	"testing"
)

func TestEachAcknowledgedReportIsThereOnce(t *testing.T) {
	one, two := Report{Code: "A", Text: textPrefix + "1"}, Report{Code: "B", Text: textPrefix + "2"}
	for _, tt := range []struct {
		name string
		list map[int]string
		want string // empty: no fault
	}{
		{"both are there", map[int]string{1: one.Text, 2: two.Text}, ""},
		{"one more, whose answer was lost", map[int]string{1: one.Text, 2: two.Text, 3: textPrefix + "3"}, ""},
		{"people who are not ours write the same", map[int]string{1: one.Text, 2: two.Text, 3: "Trou", 4: "Trou"}, ""},
		{"one is lost", map[int]string{1: one.Text}, "code B, is not in the agents' list"},
		{"one is there twice", map[int]string{1: one.Text, 2: two.Text, 7: one.Text}, "numbers 1 and 7"},
		{"one that was never acknowledged is there twice", map[int]string{1: one.Text, 2: two.Text, 3: textPrefix + "3", 4: textPrefix + "3"}, "numbers 3 and 4"},
	} {
		err := Once(tt.list, []Report{one, two})
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v; want %q", tt.name, err, tt.want)
		}
	}
}
