package vm_test

import (
	"slices"
	"testing"

	"beffroi.dev/pkg/guest/vm"
)

func TestWhatMayBeAskedWhen(t *testing.T) {
	const a, i, d = vm.Accepted, vm.Ignored, vm.Denied
	verbs := []vm.Verb{vm.Start, vm.ShutDown, vm.ForceOff, vm.Pause, vm.Resume, vm.Continue, 99}
	tests := []struct {
		state vm.State
		want  []vm.Verdict
	}{
		{vm.Stopped, []vm.Verdict{a, i, i, d, d, d, d}},
		{vm.Failed, []vm.Verdict{a, i, i, d, d, d, d}},
		{vm.Starting, []vm.Verdict{i, a, a, a, i, i, d}},
		{vm.Running, []vm.Verdict{i, a, a, a, i, i, d}},
		{vm.Paused, []vm.Verdict{d, d, a, i, a, i, d}},
		{vm.PausedIO, []vm.Verdict{d, d, a, i, a, a, d}},
		{vm.ShuttingDown, []vm.Verdict{a, i, a, d, d, d, d}},
	}
	for _, tt := range tests {
		for n, verb := range verbs {
			got, reason, _ := vm.NewQueue(tt.state).Ask(vm.Request{Verb: verb})
			if got != tt.want[n] || (got == a) != (reason == "") {
				t.Errorf("%v while %s is %v (%q); want %v", verb, tt.state, got, reason, tt.want[n])
			}
		}
	}
}

func TestRequestsWaitForTheirTurn(t *testing.T) {
	q := vm.NewQueue(vm.Stopped)
	for id, verb := range []vm.Verb{vm.Start, vm.Pause, vm.Resume, vm.ShutDown, vm.Start} {
		if v, reason, _ := q.Ask(vm.Request{Verb: verb, ID: uint64(id)}); v != vm.Accepted {
			t.Fatalf("%v: %v (%s)", verb, v, reason)
		}
	}
	steps := []struct {
		enter vm.State
		want  vm.Verb // 0: none has its turn
	}{
		{vm.Stopped, vm.Start}, {vm.Starting, 0}, {vm.Running, vm.Pause}, {vm.Paused, vm.Resume}, {vm.Running, vm.ShutDown},
		{vm.ShuttingDown, 0}, {vm.Stopped, vm.Start}, {vm.Starting, 0}, {vm.Running, 0},
	}
	for n, s := range steps {
		q.Enter(s.enter)
		if got, ok := q.Next(); got.Verb != s.want || ok != (s.want != 0) {
			t.Fatalf("step %d, %s: %v; want %v", n, s.enter, got.Verb, s.want)
		}
	}
}

func TestForceOffOvertakesEverything(t *testing.T) {
	q := vm.NewQueue(vm.Starting)
	q.Ask(vm.Request{Verb: vm.Pause, ID: 1})
	q.Ask(vm.Request{Verb: vm.Resume, ID: 2})
	if v, _, dropped := q.Ask(vm.Request{Verb: vm.ForceOff, ID: 3}); v != vm.Accepted || !slices.Equal(dropped, []uint64{1, 2}) {
		t.Fatalf("force off: %v, dropped %v; want accepted, 1 and 2", v, dropped)
	}
	if got, ok := q.Next(); !ok || got.ID != 3 {
		t.Errorf("next is %+v; want the force off, during the start", got)
	}
	if _, ok := q.Next(); ok {
		t.Error("something is left")
	}
}

func TestTheQueueIsBounded(t *testing.T) {
	q := vm.NewQueue(vm.Starting)
	verbs := []vm.Verb{vm.Pause, vm.Resume}
	for n := range 8 {
		if v, _, _ := q.Ask(vm.Request{Verb: verbs[n%2]}); v != vm.Accepted {
			t.Fatalf("request %d: %v", n, v)
		}
	}
	if v, reason, _ := q.Ask(vm.Request{Verb: vm.Pause}); v != vm.Denied {
		t.Errorf("the ninth request: %v (%s); want denied", v, reason)
	}
}
