package history_test

import (
	"strings"
	"testing"
	"time"

	"beffroi.dev/tools/histories/history"
)

func TestAHistoryIsThatOfOneDiskOrIsNot(t *testing.T) {
	w := func(client int, value uint64, call, end int) history.Op {
		return history.Op{Client: client, Write: true, Value: value, Call: tick(call), Return: tick(end)}
	}
	r := func(client int, value uint64, call, end int) history.Op {
		return history.Op{Client: client, Value: value, Call: tick(call), Return: tick(end)}
	}
	for _, c := range []struct {
		name string
		ops  []history.Op
		want string // part of the error; empty: none
	}{
		{"reads see what was written", []history.Op{r(2, 7, 0, 1), w(1, 8, 2, 3), r(2, 8, 4, 5)}, ""},
		{"a read during a write sees either", []history.Op{w(1, 8, 0, 9), r(2, 7, 1, 2), r(2, 8, 3, 4)}, ""},
		{"an acknowledged write is lost", []history.Op{w(1, 8, 0, 1), r(2, 7, 2, 3)}, "not that of one disk"},
		{"a read goes back in time", []history.Op{w(1, 8, 0, 9), r(2, 8, 1, 2), r(3, 7, 3, 4)}, "not that of one disk"},
		{"an unknown write happens late", []history.Op{w(1, 8, 0, -1), w(4, 9, 2, 3), r(2, 9, 4, 5), r(2, 8, 6, 7)}, ""},
		{"an unknown write never happens", []history.Op{w(1, 8, 0, -1), r(2, 7, 1, 2)}, ""},
		{"an unknown write happens twice", []history.Op{w(1, 8, 0, -1), r(2, 8, 1, 2), w(4, 9, 3, 4), r(2, 9, 5, 6), r(2, 8, 7, 8)}, "not that of one disk"},
		{"a read without an answer says nothing", []history.Op{r(2, 99, 0, -1)}, ""},
	} {
		h := history.New()
		h.Begin(3, 7)
		for _, o := range c.ops {
			h.Add(3, o)
		}
		err := h.Check()
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v; want %q", c.name, err, c.want)
		}
	}
}

func TestATornBlockHasNoValue(t *testing.T) {
	b := make([]byte, 4096)
	history.Fill(b, 5)
	if v, err := history.Value(b); v != 5 || err != nil {
		t.Errorf("Value = %d, %v; want 5", v, err)
	}
	history.Fill(b[512:1024], 6)
	if _, err := history.Value(b); err == nil || !strings.Contains(err.Error(), "torn") {
		t.Errorf("Value of a torn block = %v; want an error that says so", err)
	}
}

// tick is a nanosecond, so that the whole of a history lies before its check.
func tick(n int) time.Duration {
	if n < 0 {
		return -1
	}
	return time.Duration(n)
}
