package supervise

import (
	"strings"
	"testing"
	"time"

	"beffroi.dev/pkg/clock"
)

// Each row is a history: at a time in milliseconds an event, then the action
// and the state that follow.
func TestTheLifeOfAService(t *testing.T) {
	limits := Limits{Ready: time.Second, Watchdog: 500 * time.Millisecond, Stop: 2 * time.Second, PauseMin: 100 * time.Millisecond, PauseMax: 300 * time.Millisecond, Stable: 5 * time.Second}
	type step struct {
		at    int
		event Event
		want  Action
		state State
	}
	for _, tt := range []struct {
		name  string
		steps []step
	}{
		{"starts, is ready, stops", []step{
			{0, Start, Spawn, Starting}, {10, SaidReady, Nothing, Ready}, {400, SaidAlive, Nothing, Ready}, {800, Tick, Nothing, Ready},
			{850, Stop, Terminate, Stopping}, {900, SaidEnding, Nothing, Stopping}, {950, Exited, Nothing, Stopped}, {9000, Tick, Nothing, Stopped}}},
		{"never ready", []step{
			{0, Start, Spawn, Starting}, {999, Tick, Nothing, Starting}, {1000, Tick, Kill, Failed}, {1010, Exited, Nothing, BackOff}, {1110, Tick, Spawn, Starting}}},
		{"long at its start, and says that it gets on", []step{
			{0, Start, Spawn, Starting}, {900, SaidBusy, Nothing, Starting}, {1899, Tick, Nothing, Starting}, {1899, SaidBusy, Nothing, Starting}, {2898, Tick, Nothing, Starting},
			{2899, Tick, Kill, Failed}, {2900, SaidBusy, Nothing, Failed}, {2910, Exited, Nothing, BackOff}}},
		{"busy after its start gives no time", []step{
			{0, Start, Spawn, Starting}, {0, SaidReady, Nothing, Ready}, {400, SaidBusy, Nothing, Ready}, {500, Tick, Kill, Failed}}},
		{"crashes with growing pauses, to a bound", []step{
			{0, Start, Spawn, Starting}, {0, Exited, Nothing, BackOff}, {99, Tick, Nothing, BackOff}, {100, Tick, Spawn, Starting},
			{100, Exited, Nothing, BackOff}, {299, Tick, Nothing, BackOff}, {300, Tick, Spawn, Starting},
			{300, Exited, Nothing, BackOff}, {599, Tick, Nothing, BackOff}, {600, Tick, Spawn, Starting},
			{600, Exited, Nothing, BackOff}, {900, Tick, Spawn, Starting}}},
		{"ready for long, a crash is the first again", []step{
			{0, Start, Spawn, Starting}, {0, Exited, Nothing, BackOff}, {100, Tick, Spawn, Starting}, {100, SaidReady, Nothing, Ready},
			{500, SaidAlive, Nothing, Ready}, {5100, Exited, Nothing, BackOff}, {5200, Tick, Spawn, Starting}}},
		{"ready for a moment only, it is not", []step{
			{0, Start, Spawn, Starting}, {0, Exited, Nothing, BackOff}, {100, Tick, Spawn, Starting}, {100, SaidReady, Nothing, Ready},
			{200, Exited, Nothing, BackOff}, {399, Tick, Nothing, BackOff}, {400, Tick, Spawn, Starting}}},
		{"silent after it was ready", []step{
			{0, Start, Spawn, Starting}, {0, SaidReady, Nothing, Ready}, {500, Tick, Kill, Failed}, {600, SaidAlive, Nothing, Failed}, {2500, Tick, Kill, Failed}, {2510, Exited, Nothing, BackOff}}},
		{"ignores SIGTERM", []step{
			{0, Start, Spawn, Starting}, {0, SaidReady, Nothing, Ready}, {10, Stop, Terminate, Stopping}, {2009, Tick, Nothing, Stopping}, {2010, Tick, Kill, Stopping}, {2020, Exited, Nothing, Stopped}}},
		{"renewed", []step{
			{0, Start, Spawn, Starting}, {0, SaidReady, Nothing, Ready}, {10, Renew, Terminate, Failed}, {20, Renew, Nothing, Failed}, {30, Exited, Nothing, BackOff},
			{40, Renew, Nothing, BackOff}, {130, Tick, Spawn, Starting}}},
		{"renewed, and does not want to", []step{
			{0, Start, Spawn, Starting}, {0, SaidReady, Nothing, Ready}, {10, Renew, Terminate, Failed}, {400, SaidAlive, Nothing, Failed}, {2010, Tick, Kill, Failed}, {2020, Exited, Nothing, BackOff}}},
		{"stopped while it waits", []step{{0, Start, Spawn, Starting}, {0, Exited, Nothing, BackOff}, {50, Stop, Nothing, Stopped}, {100, Tick, Nothing, Stopped}}},
		{"stopped while it is told to die", []step{{0, Start, Spawn, Starting}, {1000, Tick, Kill, Failed}, {1001, Stop, Terminate, Stopping}, {1002, Exited, Nothing, Stopped}}},
		{"stops by itself, slowly", []step{{0, Start, Spawn, Starting}, {0, SaidReady, Nothing, Ready}, {100, SaidEnding, Nothing, Ready}, {1000, Tick, Nothing, Ready}, {1100, Exited, Nothing, BackOff}}},
		{"what makes no sense changes nothing", []step{
			{0, SaidReady, Nothing, Stopped}, {0, Exited, Nothing, Stopped}, {0, Stop, Nothing, Stopped}, {0, Start, Spawn, Starting}, {1, Start, Nothing, Starting}, {1, SaidAlive, Nothing, Starting}, {2, SaidReady, Nothing, Ready}, {3, SaidReady, Nothing, Ready}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := NewMachine(limits)
			for i, s := range tt.steps {
				got := m.Step(clock.Instant(time.Duration(s.at)*time.Millisecond), s.event)
				if got != s.want || m.State() != s.state {
					t.Fatalf("step %d, at %d ms: action %d, state %s; want %d, %s", i, s.at, got, m.State(), s.want, s.state)
				}
			}
		})
	}
}

func TestATimeInWhichTheParentStoodStillIsForgiven(t *testing.T) {
	m := NewMachine(DefaultLimits())
	m.Step(0, Start)
	m.Step(0, SaidReady)
	m.Forgive(time.Minute)
	if a := m.Step(clock.Instant(time.Minute), Tick); a != Nothing || m.State() != Ready {
		t.Errorf("action %d, state %s; want it left alone", a, m.State())
	}
}

func TestLimitsTellTheirFaults(t *testing.T) {
	if err := DefaultLimits().Validate(); err != nil {
		t.Error(err)
	}
	err := Limits{PauseMin: -1, PauseMax: -2, Watchdog: -1}.Validate()
	for _, want := range []string{"more than zero", "longest pause", "watchdog"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Validate lacks %q in %v", want, err)
		}
	}
}
