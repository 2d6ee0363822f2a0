package cluster

import (
	"strings"

	"beffroi.dev/pkg/ident"
)

// SetUser makes or replaces an account.
type SetUser struct {
	Name string `json:"name"`
	User User   `json:"user"`
}

func (a *SetUser) apply(s *State, c *Command) (Result, error) {
	if err := ident.CheckName(a.Name); err != nil {
		return Result{}, refuse("user: %v", err)
	}
	old, exists := s.Users[a.Name]
	if !exists && len(s.Users) >= maxUsers {
		return Result{}, refuse("there are %d users already, the most allowed", maxUsers)
	}
	if a.User.Role != RoleAdmin && a.User.Role != RoleOperator && a.User.Role != RoleViewer {
		return Result{}, refuse("role %.20q, use admin, operator or viewer", a.User.Role)
	}
	if !strings.HasPrefix(a.User.Hash, "$argon2id$") || len(a.User.Hash) > maxText || len(a.User.TOTP) > maxText {
		return Result{}, refuse("password hash or TOTP secret: use an argon2id hash, both of at most %d bytes", maxText)
	}
	if old.Role == RoleAdmin && a.User.Role != RoleAdmin && s.admins() == 1 {
		return Result{}, refuse("%s is the last administrator", a.Name)
	}
	s.Users[a.Name] = a.User
	s.note(c, Event{Kind: "set-user", Old: string(old.Role), New: a.Name + ": " + string(a.User.Role)})
	return Result{}, nil
}

func (s *State) admins() int {
	n := 0
	for _, u := range s.Users {
		if u.Role == RoleAdmin {
			n++
		}
	}
	return n
}

// DeleteUser removes an account.
type DeleteUser struct {
	Name string `json:"name"`
}

func (a *DeleteUser) apply(s *State, c *Command) (Result, error) {
	u, ok := s.Users[a.Name]
	if !ok {
		return Result{}, refuse("user %.40q does not exist", a.Name)
	}
	if u.Role == RoleAdmin && s.admins() == 1 {
		return Result{}, refuse("%s is the last administrator", a.Name)
	}
	delete(s.Users, a.Name)
	s.note(c, Event{Kind: "delete-user", Old: a.Name})
	return Result{}, nil
}

// SetReplica says which replica a node's store is: after its first format, and
// after every replacement (R9).
type SetReplica struct {
	Node    ident.Node `json:"node"`
	Replica ident.UUID `json:"replica"`
}

func (a *SetReplica) apply(s *State, c *Command) (Result, error) {
	n, ok := s.Nodes[a.Node]
	if !ok || n.Kind != KindNode {
		return Result{}, refuse("node %v is not a data node of this pair", a.Node)
	}
	if a.Replica.IsZero() {
		return Result{}, refuse("no replica identity")
	}
	if n.Replica == a.Replica {
		return Result{}, nil
	}
	for _, id := range s.Voters() {
		if other := s.Nodes[id]; id != a.Node && other.Replica == a.Replica {
			return Result{}, refuse("replica %v is the store of node %s: a clone must be formatted", a.Replica, other.Name)
		}
	}
	// A blank store must not pass for the one whose writes were acknowledged.
	for _, id := range sortedKeys(s.Groups) {
		if g := s.Groups[id]; g.Config.Has(a.Node) {
			return Result{}, refuse("node %s is in sync for group %s with its old store: its twin must go on alone first", n.Name, g.Name)
		}
	}
	old := n.Replica
	n.Replica = a.Replica
	s.Nodes[a.Node] = n
	s.note(c, Event{Kind: "replica", Node: a.Node, Old: old.String(), New: a.Replica.String()})
	return Result{}, nil
}

// Record adds an event that something outside the state happened.
type Record struct {
	Event Event `json:"event"` // number and time are set when applied
}

func (a *Record) apply(s *State, c *Command) (Result, error) {
	e := a.Event
	if err := ident.CheckName(e.Kind); err != nil {
		return Result{}, refuse("event: %v", err)
	}
	e.Old, e.New, e.Cause = clip(e.Old), clip(e.New), clip(e.Cause)
	s.note(c, e)
	return Result{}, nil
}

// clip bounds a free text.
func clip(t string) string {
	if len(t) <= maxText {
		return t
	}
	return strings.ToValidUTF8(t[:maxText], "")
}
