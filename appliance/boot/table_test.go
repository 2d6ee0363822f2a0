package boot_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"beffroi.dev/appliance/boot"
)

func TestPhasesRunInOrderAndTheTableSaysWhatBecameOfThem(t *testing.T) {
	file := filepath.Join(t.TempDir(), "run", "boot.json")
	var order []string
	failures := 2
	var s *boot.Sequence
	var progress []string // as each try of the disk begins
	body := func(name, note string, err error) boot.Phase {
		return boot.Phase{Name: name, Run: func(context.Context) (string, error) { order = append(order, name); return note, err }}
	}
	must := boot.Phase{Name: "disk", Must: true, Run: func(context.Context) (string, error) {
		order = append(order, "disk")
		failing, over := s.Progress()
		progress = append(progress, fmt.Sprint(failing, over))
		if failures--; failures >= 0 {
			return "", errors.New("no disk holds our partitions")
		}
		return "/dev/vda", nil
	}}
	var out bytes.Buffer
	s = boot.NewSequence("1.0", file, &out, time.Millisecond, []boot.Phase{body("mounts", "", nil), body("watchdog", "", errors.New("none")), must})
	if err := s.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.SetReady(3 * time.Second)
	if got := strings.Join(order, " "); got != "mounts watchdog disk disk disk" {
		t.Errorf("order: %s", got)
	}
	if failing, over := s.Progress(); strings.Join(progress, " ") != "false diskfalse diskfalse" || failing != "" || !over {
		t.Errorf("progress %q, then %q, over %v", progress, failing, over)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var table boot.Table
	if err := json.Unmarshal(b, &table); err != nil {
		t.Fatal(err)
	}
	for i, want := range []boot.State{boot.Done, boot.Skipped, boot.Done} {
		if table.Phases[i].State != want {
			t.Errorf("phase %s is %s; want %s", table.Phases[i].Name, table.Phases[i].State, want)
		}
	}
	s.ServicesFailed(errors.New("no socket"))
	s.ServicesFailed(errors.New("still none"))
	if l := s.Table().Phases; len(l) != 4 || l[3].Name != "services" || l[3].State != boot.Failed || l[3].Error != "still none" {
		t.Errorf("services that fail: %+v", l)
	}
	s.SetWatchdog(boot.Watchdog{Driver: "IPMI", Seconds: 30})
	if b, err := os.ReadFile(file); err != nil || !bytes.Contains(b, []byte(`"watchdog":{"driver":"IPMI","seconds":30}`)) {
		t.Errorf("the watchdog that is armed: %s, %v", b, err)
	}
	s.SetReady(5 * time.Second)
	if l := s.Table().Phases; len(l) != 4 || l[3].State != boot.Done || s.Table().Ready != 3 {
		t.Errorf("services that work after all: %+v", l)
	}
	if table.Ready != 3 || table.Version != "1.0" || table.Phases[2].Note != "/dev/vda" {
		t.Errorf("table: %+v", table)
	}
	if n := strings.Count(out.String(), "no disk holds our partitions"); n != 2 {
		t.Errorf("the console heard of it %d times; want 2:\n%s", n, out.String())
	}
}

func TestABootThatWaitsEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	s := boot.NewSequence("1.0", filepath.Join(t.TempDir(), "boot.json"), nil, time.Millisecond, []boot.Phase{
		{Name: "state", Must: true, Run: func(context.Context) (string, error) { return "", errors.New("damaged") }},
		{Name: "never", Run: func(context.Context) (string, error) { t.Error("it went on"); return "", nil }},
	})
	if err := s.Run(ctx); err == nil || !strings.Contains(err.Error(), "state") {
		t.Errorf("Run = %v; want the phase it stopped in", err)
	}
}
