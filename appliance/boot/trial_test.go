package boot

import (
	"errors"
	"testing"
	"time"

	"beffroi.dev/appliance/status"
	"beffroi.dev/pkg/host/slots"
	"beffroi.dev/pkg/ident"
)

func wellNode() status.Node {
	return status.Node{
		ID: 1, Votes: status.Votes{Vouched: true},
		Members: []status.Member{{ID: 1, Kind: "node", Up: true}, {ID: 2, Kind: "node", Up: true}, {ID: 3, Kind: "witness", Up: true}},
		Groups:  []status.Group{{ID: 1, Name: "citizen", Epoch: 4, InSync: []ident.Node{1, 2}, Citizen: true}},
		Store:   &status.Store{Groups: []status.LocalGroup{{ID: 1, Epoch: 4}}},
	}
}

func TestWhatMakesABootGood(t *testing.T) {
	down := errors.New("refused")
	for _, tc := range []struct {
		name    string
		change  func(*status.Node)
		silent  error
		page    error
		outside bool
		cause   Cause // empty: good
		detail  string
	}{
		{name: "all is well", change: func(*status.Node) {}},
		{name: "the twin is away and was voted out", change: func(n *status.Node) {
			n.Members[1].Up, n.Groups[0].InSync = false, []ident.Node{1}
		}},
		{name: "the twin is away and the votes do not know", change: func(n *status.Node) { n.Members[1].Up = false }, outside: true, cause: TwinUnknown},
		{name: "the witness is away", change: func(n *status.Node) { n.Members[2].Up = false }},
		{name: "no majority", change: func(n *status.Node) { n.Votes.Vouched = false }, outside: true, cause: NoMajority},
		{name: "no citizen service", change: func(n *status.Node) { n.Groups[0].Citizen = false }, outside: true, cause: NoCitizens},
		{name: "node silent", change: func(*status.Node) {}, silent: down, cause: NodeSilent, detail: "refused"},
		{name: "block silent", change: func(n *status.Node) { n.Store = nil }, cause: StoreSilent},
		{name: "block's news are old", change: func(n *status.Node) { n.Store.Age = 60_000 }, cause: StoreSilent},
		{name: "store failed", change: func(n *status.Node) { n.Store.Failed = "no disk" }, cause: StoreFailed, detail: "no disk"},
		{name: "mirror behind the votes", change: func(n *status.Node) { n.Store.Groups[0].Epoch = 3 }, cause: MirrorBehind, detail: "citizen"},
		{name: "mirror does not know the group", change: func(n *status.Node) { n.Store.Groups = nil }, cause: MirrorBehind, detail: "citizen"},
		{name: "vm silent", change: func(n *status.Node) { n.Problem = []status.Problem{{Code: "vm-silent"}} }, cause: VMSilent},
		{name: "page down", change: func(*status.Node) {}, page: down, cause: PageSilent, detail: "refused"},
	} {
		n := wellNode()
		tc.change(&n)
		v := judge(n, tc.silent, tc.page)
		if want := (verdict{good: tc.cause == "", outside: tc.outside, cause: tc.cause, detail: tc.detail}); v != want {
			t.Errorf("%s: %+v; want %+v", tc.name, v, want)
		}
	}
}

func TestAPhaseThatFailsEndsATrialOnlyIfThereIsAnotherRelease(t *testing.T) {
	for _, tc := range []struct {
		name    string
		failing string
		another bool
		want    verdict
	}{
		{"the boot gets on, or waits for a person", "", true, verdict{outside: true}},
		{"a phase fails", "disk", true, verdict{back: true, cause: PhaseFails, detail: "disk"}},
		{"a phase fails in the only release", "disk", false, verdict{outside: true, cause: PhaseFails, detail: "disk"}},
	} {
		if got := judgePhases(tc.failing, tc.another); got != tc.want {
			t.Errorf("%s: %+v; want %+v", tc.name, got, tc.want)
		}
	}
	tr := &trial{entry: slots.Entry{Version: "2", Trial: true, Left: 2}, left: 10 * time.Second}
	if show, reboot := tr.step(judgePhases("disk", true), time.Second); reboot || show.State != "on-trial" || !show.Back {
		t.Errorf("%+v, reboot %v; want the console to say that it goes back", show, reboot)
	}
}

func TestATrialsTimeStandsStillForWhatLiesOutside(t *testing.T) {
	on := func(left int) *trial {
		return &trial{entry: slots.Entry{Version: "1", Trial: true, Left: left}, left: 10 * time.Second}
	}
	steps := func(tr *trial, v verdict, n int) (show Trial, reboot bool) {
		for range n {
			if show, reboot = tr.step(v, time.Second); reboot {
				return show, reboot
			}
		}
		return show, reboot
	}
	inside, outside := verdict{cause: PageSilent}, verdict{outside: true, cause: TwinUnknown}
	tr := on(2)
	if show, reboot := steps(tr, outside, 1000); reboot || show.State != "on-trial" || show.Cause != TwinUnknown {
		t.Errorf("waiting for a twin: %+v, reboot %v", show, reboot)
	}
	if show, reboot := steps(tr, inside, 9); reboot || show.State != "on-trial" {
		t.Errorf("before the bound: %+v, reboot %v", show, reboot)
	}
	if show, reboot := steps(tr, inside, 1); !reboot || show.State != "failed" {
		t.Errorf("at the bound: %+v, reboot %v", show, reboot)
	}
	if show, reboot := steps(on(0), inside, 1000); reboot || show.State != "failed" {
		t.Errorf("without another try: %+v, reboot %v; want it to stay", show, reboot)
	}
	last := on(0)
	last.another = true
	if show, reboot := steps(last, inside, 10); !reboot || show.State != "failed" {
		t.Errorf("after the last try, beside another release: %+v, reboot %v; want the loader to take that", show, reboot)
	}
	if show, reboot := steps(on(1), verdict{good: true}, 1); reboot || show.State != "good" {
		t.Errorf("a good boot: %+v, reboot %v", show, reboot)
	}
}
