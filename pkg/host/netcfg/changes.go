package netcfg

import (
	"fmt"
	"slices"
	"strings"
)

// State is what is there: all links, the lasting global addresses, our routes,
// and the settings that a plan asks about.
type State struct {
	Links     []Link
	Addresses []Address
	Routes    []Route
	Sysctls   map[string]string
}

// Action is what a Step does.
type Action string

// The actions, in the order in which Changes puts them.
const (
	DelRoute   Action = "remove route"
	DelAddress Action = "remove address"
	DelLink    Action = "remove link"
	Release    Action = "release card" // no master, no mark, down
	AddLink    Action = "add link"
	SetSysctl  Action = "set"
	SetMaster  Action = "join"
	SetMAC     Action = "set mac"
	SetMTU     Action = "set mtu"
	SetAlias   Action = "mark"
	SetUp      Action = "bring up"
	AddAddress Action = "add address"
	AddRoute   Action = "add route"
)

// Step is one change. Only the field that its action speaks of counts.
type Step struct {
	Action  Action
	Link    Link
	Address Address
	Route   Route
	Sysctl  Sysctl
}

func (s Step) String() string {
	switch s.Action {
	case DelRoute, AddRoute:
		return fmt.Sprintf("%s %v via %v on %s", s.Action, s.Route.Dst, s.Route.Gateway, s.Route.Link)
	case DelAddress, AddAddress:
		return fmt.Sprintf("%s %v on %s", s.Action, s.Address.Prefix, s.Address.Link)
	case SetSysctl:
		return fmt.Sprintf("%s %s=%s", s.Action, s.Sysctl.Path, s.Sysctl.Value)
	case AddLink, DelLink:
		return fmt.Sprintf("%s %v", s.Action, s.Link)
	case SetMaster:
		return fmt.Sprintf("%s %s to %q", s.Action, s.Link.Name, s.Link.Master)
	case SetMAC:
		return fmt.Sprintf("%s %s of %s", s.Action, s.Link.MAC, s.Link.Name)
	case SetMTU:
		return fmt.Sprintf("%s %d of %s", s.Action, s.Link.MTU, s.Link.Name)
	case SetAlias:
		return fmt.Sprintf("%s %s as %s", s.Action, s.Link.Name, s.Link.Alias)
	}
	return fmt.Sprintf("%s %s", s.Action, s.Link.Name)
}

// Changes gives the steps from what is there to what the plan wants; none when it
// is there already.
func Changes(s State, p Plan) []Step {
	d := diff{state: s, plan: p}
	d.dropRoutes()
	d.dropAddresses()
	d.dropLinks()
	d.addLinks()
	d.sysctls()
	d.shape()
	d.addAddresses()
	d.addRoutes()
	return d.steps
}

type diff struct {
	state State
	plan  Plan
	steps []Step
	gone  []string // links that will have been removed, with all that was on them
}

func (d *diff) add(s Step) { d.steps = append(d.steps, s) }

func named(links []Link, name string) (Link, bool) {
	i := slices.IndexFunc(links, func(l Link) bool { return l.Name == name })
	if i < 0 {
		return Link{}, false
	}
	return links[i], true
}

// ours reports whether a link bears the mark of a role (a tap has its own life).
func ours(l Link) bool {
	return strings.HasPrefix(l.Alias, alias) && !strings.HasPrefix(l.Alias, aliasTap) && l.Alias != aliasService
}

// aliasService marks the link of the service address; package serviceaddr owns it.
const aliasService = alias + "service"

func (d *diff) undecided(link string, is4 bool) bool { return link == d.plan.Undecided && is4 }

func (d *diff) dropRoutes() {
	for _, r := range d.state.Routes {
		if !slices.Contains(d.plan.Routes, r) && !d.undecided(r.Link, r.Dst.Addr().Is4()) {
			d.add(Step{Action: DelRoute, Route: r})
		}
	}
}

// dropAddresses clears the links of the plan, and those that lost their role, of
// what nobody wants there.
func (d *diff) dropAddresses() {
	for _, a := range d.state.Addresses {
		if a.Link == "lo" || slices.Contains(d.plan.Addresses, a) || d.undecided(a.Link, a.Prefix.Addr().Is4()) {
			continue
		}
		l, _ := named(d.state.Links, a.Link)
		if _, planned := named(d.plan.Links, a.Link); planned || ours(l) {
			d.add(Step{Action: DelAddress, Address: a})
		}
	}
}

func (d *diff) dropLinks() {
	for _, l := range d.state.Links {
		want, planned := named(d.plan.Links, l.Name)
		switch {
		case !ours(l) || planned && same(l, want):
		case l.Kind == KindCard:
			if !planned {
				d.add(Step{Action: Release, Link: l})
			}
		default:
			d.add(Step{Action: DelLink, Link: l})
			d.gone = append(d.gone, l.Name)
		}
	}
}

// same reports whether a link can become the wanted one without being made anew.
func same(l, want Link) bool {
	return l.Kind == want.Kind && l.Parent == want.Parent && l.VLAN == want.VLAN
}

// current is the link as it will be when the removals are done.
func (d *diff) current(name string) (Link, bool) {
	if slices.Contains(d.gone, name) {
		return Link{}, false
	}
	l, ok := named(d.state.Links, name)
	if slices.Contains(d.gone, l.Master) {
		l.Master = ""
	}
	return l, ok
}

func (d *diff) addLinks() {
	for _, want := range d.plan.Links {
		if _, there := d.current(want.Name); !there && (want.Kind == KindBridge || want.Kind == KindVLAN) {
			d.add(Step{Action: AddLink, Link: want})
		}
	}
}

func (d *diff) sysctls() {
	for _, c := range d.plan.Sysctls {
		if is, ok := d.state.Sysctls[c.Path]; !ok || is != c.Value {
			d.add(Step{Action: SetSysctl, Sysctl: c})
		}
	}
}

// shape gives each link its mark, master, MAC, MTU and state, and brings taps to
// the bridge.
func (d *diff) shape() {
	bridge := ""
	for _, want := range d.plan.Links {
		if want.Kind == KindBridge {
			bridge = want.Name
		}
		is, _ := d.current(want.Name)
		if want.Alias != is.Alias {
			d.add(Step{Action: SetAlias, Link: want})
		}
		if want.Kind == KindCard && want.Master != is.Master {
			d.add(Step{Action: SetMaster, Link: want})
		}
		if want.MAC != "" && want.MAC != is.MAC {
			d.add(Step{Action: SetMAC, Link: want})
		}
		if want.MTU != 0 && want.MTU != is.MTU {
			d.add(Step{Action: SetMTU, Link: want})
		}
		if want.Up && !is.Up {
			d.add(Step{Action: SetUp, Link: want})
		}
	}
	for _, l := range d.state.Links {
		if is, _ := d.current(l.Name); strings.HasPrefix(l.Alias, aliasTap) && is.Master != bridge {
			l.Master = bridge
			d.add(Step{Action: SetMaster, Link: l})
		}
	}
}

func (d *diff) addAddresses() {
	for _, a := range d.plan.Addresses {
		if !slices.Contains(d.state.Addresses, a) || slices.Contains(d.gone, a.Link) {
			d.add(Step{Action: AddAddress, Address: a})
		}
	}
}

// addRoutes comes last. A removed address takes the routes through its network
// with it, so after such a removal every route of that link is put again.
func (d *diff) addRoutes() {
	for _, r := range d.plan.Routes {
		lost := slices.ContainsFunc(d.steps, func(s Step) bool {
			return s.Action == DelAddress && s.Address.Link == r.Link && s.Address.Prefix.Addr().Is4() == r.Dst.Addr().Is4()
		})
		if lost || !slices.Contains(d.state.Routes, r) || slices.Contains(d.gone, r.Link) {
			d.add(Step{Action: AddRoute, Route: r})
		}
	}
}
