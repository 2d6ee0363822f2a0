package boot

import (
	"testing"
	"time"

	"beffroi.dev/pkg/task"
)

func TestAnEndHandsOverFirstAndWhoAsksAgainDoesNotWait(t *testing.T) {
	stopped, handed := make(chan struct{}, 4), make(chan struct{})
	stop := func() { stopped <- struct{}{} }

	early := &ending{stop: stop}
	early.ask(PowerOff)
	<-stopped
	if early.what() != PowerOff {
		t.Error("before there are services, an end is made at once, as asked")
	}

	tasks := task.New(t.Context())
	e := &ending{stop: stop, tasks: tasks}
	if e.what() != Reboot {
		t.Error("an end that nobody asked for is a reboot")
	}
	e.orderly(func() { <-handed })
	e.ask(PowerOff)
	select {
	case <-stopped:
		t.Error("it stopped before everything was handed over")
	case <-time.After(20 * time.Millisecond):
	}
	e.ask(Reboot)
	<-stopped
	if e.what() != PowerOff {
		t.Error("the second wish changed the first")
	}
	close(handed)
	<-stopped
	if err := tasks.Stop(time.Minute); err != nil {
		t.Error(err)
	}
}
