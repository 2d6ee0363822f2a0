package power_test

import (
	"context"
	"encoding/binary"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"beffroi.dev/pkg/host/power"
)

// device makes an input device out of a named pipe, which is as live as the real one.
func device(t *testing.T, c power.Config, name, keys string) *os.File {
	t.Helper()
	dir := filepath.Join(c.Class, name, "device", "capabilities")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "key"), []byte(keys+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(c.Devices, name)
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0) // never blocks, and keeps it from ending
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func event(kind, code uint16, value uint32) []byte {
	b := make([]byte, 24)
	binary.NativeEndian.PutUint16(b[16:], kind)
	binary.NativeEndian.PutUint16(b[18:], code)
	binary.NativeEndian.PutUint32(b[20:], value)
	return b
}

func TestAPressIsHeardOnceAndNothingElseIs(t *testing.T) {
	c := power.Config{Devices: t.TempDir(), Class: t.TempDir(), Rescan: 5 * time.Millisecond}
	ctx, cancel := context.WithCancel(t.Context())
	heard, ended := make(chan string, 10), make(chan error, 1)
	mouse := device(t, c, "event0", "1f0000 0 0 0 0")
	go func() {
		ended <- power.Watch(ctx, c, func() { heard <- "pressed" }, slog.New(slog.DiscardHandler))
	}()
	button := device(t, c, "event1", "10000000000000 0") // comes later
	write := func(f *os.File, events ...[]byte) {
		for _, e := range events {
			if _, err := f.Write(e); err != nil {
				t.Fatal(err)
			}
		}
	}
	write(mouse, event(1, 116, 1))
	write(button, event(1, 115, 1), event(2, 116, 1), event(1, 116, 1), event(1, 116, 2), event(1, 116, 0), event(0, 0, 0), event(1, 116, 1))
	for range 2 {
		<-heard
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if len(heard) != 0 {
		t.Errorf("heard %d presses too many", len(heard))
	}
}
