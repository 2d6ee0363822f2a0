package task_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"beffroi.dev/pkg/task"
)

func TestAFailureStopsTheOthersAndIsReturned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := task.New(t.Context())
		boom := errors.New("boom")
		g.Go("waiter", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
		g.Go("failer", func(context.Context) error { return boom })
		if err := g.Wait(t.Context(), time.Second); !errors.Is(err, boom) || !strings.HasPrefix(err.Error(), "failer: ") {
			t.Errorf("Wait = %v; want failer: boom", err)
		}
	})
}

func TestAPanicBecomesAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := task.New(t.Context())
		g.Go("p", func(context.Context) error { panic("oops") })
		if err := g.Wait(t.Context(), time.Second); err == nil || !strings.Contains(err.Error(), "panic: oops") {
			t.Errorf("Wait = %v; want the panic", err)
		}
	})
}

func TestStopNamesWhatDoesNotStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := task.New(t.Context())
		hang := make(chan struct{})
		g.Go("stubborn", func(context.Context) error { <-hang; return nil })
		if err := g.Stop(time.Second); err == nil || !strings.Contains(err.Error(), "stubborn") {
			t.Errorf("Stop = %v; want it to name stubborn", err)
		}
		close(hang)
		if err := g.Stop(time.Second); err != nil {
			t.Errorf("second Stop = %v; want nil", err)
		}
	})
}
