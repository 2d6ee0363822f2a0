package build

import "testing"

func TestTheImagesTimeNeverComesFromTheClock(t *testing.T) {
	for name, c := range map[string]struct {
		given int64
		epoch string
		want  int64 // 0: refused
	}{
		"given":                        {given: 5, epoch: "7", want: 5},
		"of the environment":           {epoch: "1700000000", want: 1700000000},
		"no number":                    {epoch: "yesterday"},
		"before the beginning":         {epoch: "-1"},
		"no commit and no environment": {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("SOURCE_DATE_EPOCH", c.epoch)
			t.Setenv("GIT_DIR", t.TempDir()) // no repository
			got, err := Config{Source: t.TempDir(), Built: c.given}.builtAt(t.Context())
			if got != c.want || (err == nil) != (c.want != 0) {
				t.Errorf("%d, %v; want %d", got, err, c.want)
			}
		})
	}
}
