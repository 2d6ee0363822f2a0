package cluster

import (
	"fmt"
	"slices"
	"strings"

	"beffroi.dev/pkg/ident"
)

// ChangeKind is why a configuration changes.
type ChangeKind string

// The kinds of change; the package comment has the table.
const (
	Shrink  ChangeKind = "shrink"
	Grow    ChangeKind = "grow"
	Promote ChangeKind = "promote"
	Switch  ChangeKind = "switch"
	Restart ChangeKind = "restart"
)

// Reconfigure changes the configuration of one group, if its epoch is Base. Of
// New, the epoch may be left zero; the lineage must be the present one or zero.
// The cut may be left zero to stay. It may move back: what a primary held alone
// and never acknowledged is lost when another member is promoted.
type Reconfigure struct {
	Group ident.Group `json:"group"`
	Base  ident.Epoch `json:"base"`
	New   Config      `json:"new"`
	Kind  ChangeKind  `json:"kind"`
	By    ident.Node  `json:"by"`
	// Replica is, for a grow, the replica that was brought up to date. A store
	// that was replaced since then has another one and must not slip in (R9).
	Replica ident.UUID `json:"replica,omitzero"`
	Cause   string     `json:"cause,omitempty"` // for the event
}

func (a *Reconfigure) apply(s *State, c *Command) (Result, error) {
	g, ok := s.Groups[a.Group]
	if !ok {
		return Result{}, refuse("group %d does not exist", a.Group)
	}
	if a.Base != g.Config.Epoch {
		return Result{}, refuse("group %s is in epoch %d, the change was made for %d", g.Name, g.Config.Epoch, a.Base)
	}
	next := a.New
	next.InSync = slices.Clone(next.InSync)
	if next.Epoch != 0 && next.Epoch != a.Base+1 {
		return Result{}, refuse("new epoch %d, want %d", next.Epoch, a.Base+1)
	}
	next.Epoch = a.Base + 1
	if next.Lineage != 0 && next.Lineage != g.Config.Lineage {
		return Result{}, refuse("lineage %d, it stays %d", next.Lineage, g.Config.Lineage)
	}
	next.Lineage = g.Config.Lineage
	if next.Cut == (Cut{}) {
		next.Cut = g.Config.Cut
	}
	if next.Cut.Epoch > a.Base {
		return Result{}, refuse("cut %d/%d, want one of an epoch up to %d", next.Cut.Epoch, next.Cut.Seq, a.Base)
	}
	if err := s.checkSet(next.InSync, next.Primary); err != nil {
		return Result{}, refuse("%v", err)
	}
	if err := a.allowed(s, g.Config, next); err != nil {
		return Result{}, err
	}
	old := g.Config
	g.Config = next
	s.Groups[g.ID] = g
	s.note(c, Event{Kind: string(a.Kind), Node: a.By, Group: g.ID, Old: s.describe(old), New: s.describe(next), Cause: clip(a.Cause)})
	return Result{Group: g.ID, Epoch: next.Epoch}, nil
}

// allowed is the table of the package comment.
func (a *Reconfigure) allowed(s *State, old, next Config) error {
	if a.By == 0 || s.Nodes[a.By].Kind != KindNode {
		return refuse("%s by %v, not a data node of this pair", a.Kind, a.By)
	}
	byPrimary := a.By == old.Primary
	samePrimary := next.Primary == old.Primary
	same := slices.Equal(next.InSync, old.InSync)
	part := subset(next.InSync, old.InSync)
	switch a.Kind {
	case Shrink:
		if !byPrimary || !samePrimary || !part || same {
			return refuse("shrink: only the primary, %v, may; it stays primary and the set loses members", old.Primary)
		}
	case Grow:
		if !byPrimary || !samePrimary || !subset(old.InSync, next.InSync) || len(next.InSync) != len(old.InSync)+1 {
			return refuse("grow: only the primary, %v, may; it stays primary and the set gains one data node", old.Primary)
		}
		return a.growAllowed(s, old, next)
	case Promote:
		if byPrimary || !old.Has(a.By) && !mutant.promoteOutside {
			return refuse("promote: only a member of the in-sync set that is not primary may, %v is not", a.By)
		}
		if next.Primary != a.By || !part && !mutant.promoteOutside {
			return refuse("promote: %v becomes primary of a part of the in-sync set", a.By)
		}
	case Switch:
		if !byPrimary || samePrimary || !same {
			return refuse("switch: only the primary, %v, may; another member becomes primary and the set stays", old.Primary)
		}
	case Restart:
		if !byPrimary || !samePrimary || !part {
			return refuse("restart: only the primary, %v, may; it stays primary and the set stays or loses members", old.Primary)
		}
	default:
		return refuse("kind %.20q, use shrink, grow, promote, switch or restart", a.Kind)
	}
	return nil
}

func (a *Reconfigure) growAllowed(s *State, old, next Config) error {
	for _, n := range next.InSync {
		if old.Has(n) {
			continue
		}
		if r := s.Nodes[n].Replica; r.IsZero() || r != a.Replica {
			return refuse("grow: %v holds replica %v, the one brought up to date is %v", n, r, a.Replica)
		}
	}
	return nil
}

func subset(part, whole []ident.Node) bool {
	for _, n := range part {
		if !slices.Contains(whole, n) {
			return false
		}
	}
	return true
}

func (s *State) describe(c Config) string {
	names := make([]string, 0, len(c.InSync))
	for _, n := range c.InSync {
		names = append(names, s.Nodes[n].Name)
	}
	return fmt.Sprintf("epoch %d, primary %s, in sync %s", c.Epoch, s.Nodes[c.Primary].Name, strings.Join(names, " "))
}

// Batch is several changes in one proposal, as the loss of a link makes them:
// each is judged by itself, so that one lost race does not undo the others.
type Batch struct {
	Changes []Reconfigure `json:"changes"`
}

func (a *Batch) apply(s *State, c *Command) (Result, error) {
	if len(a.Changes) == 0 || len(a.Changes) > maxGroups {
		return Result{}, refuse("a batch of %d changes, use 1 to %d", len(a.Changes), maxGroups)
	}
	var res Result
	for i := range a.Changes {
		r, err := a.Changes[i].apply(s, c)
		if err != nil {
			r = Result{Group: a.Changes[i].Group, Refused: strings.TrimPrefix(err.Error(), ErrRefused.Error()+": ")}
		}
		res.Batch = append(res.Batch, r)
	}
	return res, nil
}
