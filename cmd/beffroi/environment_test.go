package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

func TestExitCodesAndAdvice(t *testing.T) {
	known := map[string]func(*environment) error{"node": func(*environment) error { return errors.New("must not run") }}
	for _, tt := range []struct {
		name string
		args string
		want string
	}{
		{"nothing", "", "no command"},
		{"an unknown command", "dance --dir /x", "not a command"},
		{"no folder", "node", "wants --dir"},
		{"too much", "node --dir /x y", "wants --dir"},
		{"an unknown option", "node --dir /x --fast", "wants --dir"},
		{"no configuration", "node --dir /nonexistent", "read configuration"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			if code := run(known, strings.Fields(tt.args), &out); code != exitUsage || !strings.Contains(out.String(), tt.want) {
				t.Errorf("code %d, %q; want %d and %q", code, out.String(), exitUsage, tt.want)
			}
		})
	}
}
