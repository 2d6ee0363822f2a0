package rescue

import (
	"slices"
	"time"
)

// level is how urgent something is.
type level int

const (
	fine level = iota
	info
	warning
	urgent
)

// oldStore is when a store's report says nothing about now any more.
const oldStore = 10 * time.Second

// advice is one plain sentence and what to do: keys of the table.
type advice struct {
	level    level
	what, do string
	args     []any
}

// alarms orders what the node service reports by what a reader should do first.
// Each code has its what.CODE and do.CODE in the table.
var alarms = []struct {
	code  string
	level level
}{
	{"cable-identity", urgent}, {"store-failed", urgent}, {"store-full", urgent}, {"twin-silent", urgent}, {"store-silent", urgent},
	{"cable-on-lan", urgent}, {"cable-loop", urgent}, {"cable-foreign", urgent},
	{"state-full", urgent}, {"service-failing", urgent},
	{"vm-paused", urgent}, {"vm-failed", urgent},
	{"cable-crossed", warning}, {"cable-wrong-port", warning}, {"cable-far-port", warning}, // why there is one copy
	{"resync", info}, {"solo", warning},
	{"cable-no-card", warning}, {"cable-mtu", warning}, {"cable-no-carrier", warning}, {"cable-no-peer", warning},
	{"link-down", warning}, {"witness-silent", warning}, {"vm-silent", warning},
	{"clock-wrong", warning}, {"clocks-differ", warning}, {"clock-corrected", warning},
}

// why says why the node waits, or what is wrong: the one most useful sentence.
func why(s *Snapshot) advice {
	if e := s.Boot.Ending; e != nil {
		switch {
		case e.Guests > 0:
			return advice{info, "what.ending-guests", "do.ending", []any{e.Guests}}
		case e.Group > 0:
			return advice{info, "what.ending-groups", "do.ending", []any{e.Group, e.Groups}}
		}
		return advice{info, "what.ending", "do.ending", nil}
	}
	if s.NoInit {
		return advice{urgent, "what.no-init", "do.no-init", nil}
	}
	for _, p := range s.Boot.Phases {
		if p.State == "failed" {
			return advice{urgent, "what.boot", doAbout(p, "do.boot"), []any{p}}
		}
	}
	// The two that may be why the node service is silent come before that.
	if s.Host.StateBytes > 0 && s.Host.StateFree < s.Host.StateBytes/100 {
		return advice{urgent, "what.state-full", "do.state-full", []any{s.Pair.Self}}
	}
	if i := slices.IndexFunc(s.Troubled, func(v Service) bool { return v.Name == "node" && v.Down }); i >= 0 {
		return advice{urgent, "what.service-failing", "do.service-failing", []any{s.Troubled[i].Name}}
	}
	switch {
	case s.Pairing.Known && !s.Pairing.Paired:
		return advice{info, "what.unpaired", "do.unpaired", nil}
	case s.Pair.Err != nil && !s.Pair.Known:
		return advice{urgent, "what.node-silent", "do.node-silent", nil}
	case !s.Pair.Known:
		return advice{info, "what.unknown", "do.unknown", nil}
	}
	// A second machine with this node's identity is why the twin is silent, or why this
	// one has no majority: it comes before both.
	if i := slices.IndexFunc(s.Pair.Alarms, func(a Alarm) bool { return a.Code == "cable-identity" }); i >= 0 {
		return advice{urgent, "what.cable-identity", "do.cable-identity", []any{s.Pair.Alarms[i].Object}}
	}
	if a, ok := waits(&s.Pair); ok {
		return a
	}
	if s.Pair.Err != nil {
		return advice{urgent, "what.node-silent", "do.node-silent", nil}
	}
	for _, order := range alarms {
		if i := slices.IndexFunc(s.Pair.Alarms, func(a Alarm) bool { return a.Code == order.code }); i >= 0 {
			if order.code == "store-silent" && s.Recovers != nil { // it is silent for a good reason
				return advice{info, "what.recovers", "do.recovers", []any{*s.Recovers}}
			}
			return advice{order.level, "what." + order.code, "do." + order.code, []any{s.Pair.Alarms[i].Object}}
		}
	}
	for _, p := range s.Boot.Phases {
		if p.State == "skipped" {
			return advice{warning, "what.skipped", doAbout(p, "do.skipped"), []any{p}}
		}
	}
	if len(s.Pair.Alarms) > 0 {
		return advice{warning, "what.other", "do.other", []any{s.Pair.Alarms[0].Code}}
	}
	if s.Watchdog.Known && !s.Watchdog.Armed {
		return advice{warning, "what.watchdog", "do.watchdog", nil}
	}
	if t := s.Boot.Trial; t != nil && t.State == "failed" {
		return advice{warning, "what.trial", "do.trial", []any{t.Cause, t.Detail}}
	}
	return advice{fine, "what.fine", "do.fine", nil}
}

// doAbout is what to do about a phase that failed: by its fault, if that is known.
func doAbout(p Phase, otherwise string) string {
	if _, ok := words["do.fault."+p.Fault]; ok && p.Fault != "" {
		return "do.fault." + p.Fault
	}
	return otherwise
}

// waits is what a node that cannot serve waits for.
func waits(p *Pair) (advice, bool) {
	twin, witness := p.twin(), p.witness()
	if p.Store != nil && p.Store.Failed != "" {
		return advice{urgent, "what.store-failed", "do.store-failed", []any{p.Self}}, true
	}
	switch {
	case !p.Vouched && !twin.Up && !witness.Up:
		return advice{urgent, "what.alone", "do.alone", []any{twin.Name, twin.Site}}, true
	case !p.Vouched:
		return advice{urgent, "what.no-majority", "do.no-majority", nil}, true
	}
	for _, g := range p.Groups {
		// After a blackout the newest data may lie on the node that has not come back.
		if !twin.Up && len(g.InSync) > 0 && !slices.Contains(g.InSync, p.Self) {
			return advice{urgent, "what.behind", "do.behind", []any{twin.Name, g.Name}}, true
		}
	}
	return advice{}, false
}

func (p *Pair) twin() Member {
	return p.member(func(m Member) bool { return !m.Self && !m.Witness })
}

func (p *Pair) witness() Member { return p.member(func(m Member) bool { return m.Witness }) }

func (p *Pair) member(is func(Member) bool) Member {
	if i := slices.IndexFunc(p.Members, is); i >= 0 {
		return p.Members[i]
	}
	return Member{}
}

// relief is who takes over when this node goes away.
func relief(s *Snapshot) (key string, args []any) {
	p := &s.Pair
	twin := p.twin()
	switch {
	case s.Pairing.Known && !s.Pairing.Paired:
		return "relief.unpaired", nil
	case !p.Known || p.Err != nil:
		return "relief.unknown", nil
	case !twin.Up:
		return "relief.none", []any{twin.Name}
	case !p.witness().Up:
		return "relief.nowitness", []any{twin.Name}
	}
	for _, g := range p.Groups {
		if !slices.Contains(g.InSync, twin.Name) {
			return "relief.behind", []any{twin.Name, g.Name}
		}
	}
	return "relief.twin", []any{twin.Name}
}
