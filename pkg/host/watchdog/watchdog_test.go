package watchdog

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// device is a file in the place of the hardware's: it keeps what was written, and knows
// no setting.
func device(t *testing.T) (*Watchdog, func() string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "watchdog")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	w, err := Open(Config{Path: path, Timeout: 2 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return w, func() string {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
}

func TestAWatchdogIsFedOnlyWhileAllIsWell(t *testing.T) {
	w, written := device(t)
	ctx, stop := context.WithCancel(t.Context())
	answers := []bool{true, false, true, false, false} // then it is told to stop
	asked := 0
	err := w.Feed(ctx, func() bool {
		if asked++; asked == len(answers) {
			stop()
		}
		return answers[asked-1]
	})
	if err != nil || asked != len(answers) {
		t.Errorf("asked %d times of %d: %v", asked, len(answers), err)
	}
	if got := written(); got != "\x00\x00" {
		t.Errorf("written: %q; want two meals, and no end of the timer", got)
	}
	if err := w.Disarm(); err != nil {
		t.Error(err)
	}
	if got := written(); got != "\x00\x00V" {
		t.Errorf("written: %q; want the end of the timer", got)
	}
}

func TestAWatchdogThatCannotBeFedIsAnError(t *testing.T) {
	w, _ := device(t)
	if err := w.Disarm(); err != nil {
		t.Fatal(err)
	}
	if err := w.Feed(t.Context(), func() bool { return true }); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Feed = %v", err)
	}
}

func TestADriverThatKnowsNoSettingKeepsWhatWasAsked(t *testing.T) {
	if w, _ := device(t); w.Timeout != 2*time.Second || w.Driver != "" {
		t.Errorf("%+v", w)
	}
}

func TestAMachineWithoutAWatchdogIsTold(t *testing.T) {
	if _, err := Open(Config{Path: filepath.Join(t.TempDir(), "none"), Timeout: time.Minute}); !errors.Is(err, ErrNone) {
		t.Errorf("Open = %v", err)
	}
}

func TestAConfigurationReportsAllItsFaults(t *testing.T) {
	for _, tt := range []struct {
		c    Config
		want string
	}{
		{Config{Path: "/dev/watchdog", Timeout: 30 * time.Second}, ""},
		{Config{Timeout: 30 * time.Second}, "no device"},
		{Config{Path: "x", Timeout: time.Second}, "whole seconds"},
		{Config{Path: "x", Timeout: time.Hour}, "whole seconds"},
		{Config{Path: "x", Timeout: 2500 * time.Millisecond}, "whole seconds"},
	} {
		err := tt.c.Validate()
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: %v; want %q", tt.c, err, tt.want)
		}
	}
}
