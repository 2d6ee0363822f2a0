package guests_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"beffroi.dev/appliance/control"
	"beffroi.dev/appliance/guests"
	"beffroi.dev/appliance/status"
	"beffroi.dev/pkg/disk"
	"beffroi.dev/pkg/quorum/cluster"
)

var _ guests.Control = (*control.Client)(nil)

func TestAGuestFollowsItsOrders(t *testing.T) {
	r := newRig(t)
	r.start()
	r.place(self)
	first := r.runs(1)
	if first.Accel == "" || first.Serial == "" || first.QMP == "" {
		t.Errorf("the report lacks something: %+v", first)
	}
	if words, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", first.PID)); err != nil || first.Network != status.NetworkProcess || bytes.Contains(words, []byte("-netdev")) {
		t.Errorf("process mode: network %q, QEMU %q, %v; want no card, and that told", first.Network, words, err)
	}

	r.stop()
	at := time.Now()
	r.start()
	if again := r.runs(1); again.PID != first.PID {
		t.Errorf("after a restart of the service it is process %d; want %d, found again", again.PID, first.PID)
	}
	t.Logf("found again after %v", time.Since(at))

	r.place(self) // declared dead and placed anew
	r.await("killed", r.gone(first.PID))
	second := r.runs(2)

	r.place(twin)
	r.await("killed for the twin", r.gone(second.PID))
	r.await("out of the report", func() bool { _, ok := r.vm(); return !ok })
}

func TestAGuestWithoutAnOrderIsKilledAfterAGrace(t *testing.T) {
	r := newRig(t)
	r.start()
	r.place(self)
	v := r.runs(1)
	r.change(func() { r.order.Run = nil })
	time.Sleep(500 * time.Millisecond)
	if r.gone(v.PID)() {
		t.Error("it was killed at once; the vote lets it run here")
	}
	r.await("killed", r.gone(v.PID))
}

func TestWhatEndsIsNeverStartedAgainUnderItsGeneration(t *testing.T) {
	r := newRig(t)
	r.start()
	r.place(self)
	v := r.runs(1)
	if err := syscall.Kill(v.PID, syscall.SIGKILL); err != nil { // as the fence does
		t.Fatal(err)
	}
	r.await("asking for a new placement", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return len(r.proposed) > 0
	})
	r.mu.Lock()
	place, ok := r.proposed[0].(*cluster.PlaceVM)
	r.order.Run = []control.VMOrder{{VM: 1, Generation: 2}}
	r.mu.Unlock()
	if !ok || place.Base != 1 || place.Node != self {
		t.Errorf("it proposed %+v", r.proposed[0])
	}
	r.change(func() {})
	r.runs(2)
}

func TestAGuestThatIsNotWantedGetsItsPowerButton(t *testing.T) {
	r := newRig(t)
	r.start()
	r.place(self)
	v := r.runs(1)
	off := false
	if _, err := r.Propose(context.Background(), &cluster.UpdateVM{VM: 1, Run: &off}); err != nil {
		t.Fatal(err)
	}
	r.change(func() { r.order.Run = nil })
	r.await("off", r.gone(v.PID))
	r.await("reported", func() bool { v, _ := r.vm(); return v.State == "stopped" })
	b, err := os.ReadFile(filepath.Join(r.dir.Guests(), "counter", "serial.log"))
	if err != nil || !bytes.Contains(b, []byte("power off at")) {
		t.Errorf("its last words: %q (%v)", b[max(0, len(b)-60):], err)
	}

	// Deleted, its folder goes.
	r.change(func() { delete(r.state.VMs, 1) })
	r.await("forgotten", func() bool {
		_, err := os.Stat(filepath.Join(r.dir.Guests(), "counter"))
		return errors.Is(err, os.ErrNotExist)
	})
	r.change(func() { r.state.VMs[1] = cluster.VM{ID: 1, Name: "counter", Group: 1, Generation: 1} })
}

// A node that goes down in order shuts its guests down and starts none, and does not
// take that for the guest's own wish to be off.
func TestANodeThatGoesDownShutsItsGuestsDown(t *testing.T) {
	r := newRig(t)
	r.start()
	r.place(self)
	v := r.runs(1)
	if code, _ := r.drain(`{"bound_ms": -1}`); code != http.StatusBadRequest {
		t.Errorf("a bound below zero: %d", code)
	}
	if code, alive := r.drain(`{"bound_ms": 60000}`); code != http.StatusOK || len(alive) != 1 {
		t.Errorf("drain: %d, alive %v; want the guest", code, alive)
	}
	r.await("off", r.gone(v.PID))
	r.await("told", func() bool { _, alive := r.drain(`{"bound_ms": 60000}`); return len(alive) == 0 })
	b, err := os.ReadFile(filepath.Join(r.dir.Guests(), "counter", "serial.log"))
	if err != nil || !bytes.Contains(b, []byte("power off at")) {
		t.Errorf("its last words: %q (%v)", b[max(0, len(b)-60):], err)
	}
	r.place(self)
	time.Sleep(time.Second)
	if v, _ := r.vm(); v.PID != 0 {
		t.Errorf("it was started again: %+v", v)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, do := range r.proposed {
		t.Errorf("the service proposed %+v", do)
	}
}

func TestAGuestThatItsDiskStoppedContinuesWhenItServes(t *testing.T) {
	r := newRig(t)
	r.start()
	r.place(self)
	r.runs(1)
	r.change(func() { r.serving = false })
	r.queue.set(disk.ErrNoSpace)
	r.await("stopped by its disk", func() bool { v, _ := r.vm(); return v.State == "paused-io" })
	r.queue.set(nil)
	time.Sleep(1500 * time.Millisecond)
	if v, _ := r.vm(); v.State != "paused-io" {
		t.Errorf("it is %s while its group does not serve", v.State)
	}
	r.change(func() { r.serving = true })
	r.runs(1)
}

func TestASecondServiceIsToldWhoIsThere(t *testing.T) {
	r := newRig(t)
	r.start()
	r.await("there", func() bool { _, err := os.Stat(r.dir.Socket("vm")); return err == nil })
	err := guests.Run(context.Background(), guests.Config{Dir: r.dir, Self: self}, r.node, slog.New(slog.DiscardHandler))
	if err == nil || !bytes.Contains([]byte(err.Error()), []byte("another vm service")) {
		t.Errorf("a second service: %v", err)
	}
}
