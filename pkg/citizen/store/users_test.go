package store

import (
	"errors"
	"testing"
	"time"

	"beffroi.dev/pkg/disk"
)

func TestTheEndWaitsForWhoIsUnderWayAndLetsNobodyIn(t *testing.T) {
	var u users
	for range 2 {
		if err := u.enter(); err != nil {
			t.Fatal(err)
		}
	}
	u.leave()
	if err := u.end(time.Millisecond); err == nil {
		t.Error("it ended under a transaction")
	}
	if err := u.enter(); !errors.Is(err, disk.ErrClosed) {
		t.Errorf("a new transaction: %v", err)
	}
	u.leave()
	for range 2 { // closed twice, as after an error
		if err := u.end(time.Minute); err != nil {
			t.Error(err)
		}
	}
}
