package cluster

import (
	"encoding/json"
	"errors"
	"fmt"

	"beffroi.dev/pkg/ident"
)

// CommandVersion is the version of the command envelope. History:
//
//	1  first
const CommandVersion = 1

// MaxCommand is the longest encoded command in bytes: a batch of all groups fits.
const MaxCommand = 256 << 10

// ProposalID tells proposals apart: the proposer and a random number.
type ProposalID struct {
	Node   ident.Node `json:"node"`
	Random uint64     `json:"random"`
}

// Command is what a voter proposes.
type Command struct {
	ID     ProposalID
	WallMS int64 // time of day at the proposer, a label for events
	Do     Action
}

// Action is what a command does: one of the types of this package that say so.
type Action interface {
	apply(s *State, c *Command) (Result, error)
}

// Result is what became of a command.
type Result struct {
	Refused string         `json:"refused,omitempty"` // why, when it was
	Group   ident.Group    `json:"group,omitempty"`   // created or changed
	Volumes []ident.Volume `json:"volumes,omitempty"` // created
	VM      ident.VM       `json:"vm,omitempty"`      // created or changed
	Epoch   ident.Epoch    `json:"epoch,omitempty"`   // of the group's new configuration
	Batch   []Result       `json:"batch,omitempty"`   // of each member of a Batch
}

// ErrRefused is wrapped by the error of every refused command.
var ErrRefused = errors.New("refused")

// Err is nil, or an error that wraps ErrRefused with the reason.
func (r Result) Err() error {
	if r.Refused == "" {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrRefused, r.Refused)
}

// newAction makes an empty action of each kind. The names are part of the log's
// format and are never reused.
var newAction = map[string]func() Action{
	"create-group": func() Action { return &CreateGroup{} },
	"delete-group": func() Action { return &DeleteGroup{} },
	"reconfigure":  func() Action { return &Reconfigure{} },
	"batch":        func() Action { return &Batch{} },
	"set-prefer":   func() Action { return &SetPreferred{} },
	"set-service":  func() Action { return &SetService{} },
	"create-vm":    func() Action { return &CreateVM{} },
	"update-vm":    func() Action { return &UpdateVM{} },
	"delete-vm":    func() Action { return &DeleteVM{} },
	"place-vm":     func() Action { return &PlaceVM{} },
	"set-user":     func() Action { return &SetUser{} },
	"delete-user":  func() Action { return &DeleteUser{} },
	"set-replica":  func() Action { return &SetReplica{} },
	"replace-node": func() Action { return &ReplaceNode{} },
	"record":       func() Action { return &Record{} },
}

func kindOf(a Action) string {
	switch a.(type) {
	case *CreateGroup:
		return "create-group"
	case *DeleteGroup:
		return "delete-group"
	case *Reconfigure:
		return "reconfigure"
	case *Batch:
		return "batch"
	case *SetPreferred:
		return "set-prefer"
	case *SetService:
		return "set-service"
	case *CreateVM:
		return "create-vm"
	case *UpdateVM:
		return "update-vm"
	case *DeleteVM:
		return "delete-vm"
	case *PlaceVM:
		return "place-vm"
	case *SetUser:
		return "set-user"
	case *DeleteUser:
		return "delete-user"
	case *SetReplica:
		return "set-replica"
	case *ReplaceNode:
		return "replace-node"
	case *Record:
		return "record"
	}
	return ""
}

type envelope struct {
	Version int             `json:"v"`
	ID      ProposalID      `json:"id"`
	WallMS  int64           `json:"wall_ms"`
	Kind    string          `json:"kind"`
	Do      json.RawMessage `json:"do"`
}

// Encode writes the command as a log entry.
func (c *Command) Encode() ([]byte, error) {
	kind := kindOf(c.Do)
	if kind == "" {
		return nil, fmt.Errorf("encode command: no action, or an unknown one (%T)", c.Do)
	}
	do, err := json.Marshal(c.Do)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", kind, err)
	}
	b, err := json.Marshal(envelope{Version: CommandVersion, ID: c.ID, WallMS: c.WallMS, Kind: kind, Do: do})
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", kind, err)
	}
	if len(b) > MaxCommand {
		return nil, fmt.Errorf("encode %s: %d bytes, at most %d", kind, len(b), MaxCommand)
	}
	return b, nil
}

// DecodeCommand reads a log entry. The identity is returned also with an error,
// when it could be read, so that the proposer can be told.
func DecodeCommand(b []byte) (Command, error) {
	var e envelope
	if len(b) > MaxCommand {
		return Command{}, fmt.Errorf("command of %d bytes, at most %d", len(b), MaxCommand)
	}
	if err := json.Unmarshal(b, &e); err != nil {
		return Command{}, fmt.Errorf("decode command: %w", err)
	}
	c := Command{ID: e.ID, WallMS: e.WallMS}
	if e.Version > CommandVersion {
		return c, fmt.Errorf("command of version %d, this one reads up to %d", e.Version, CommandVersion)
	}
	fresh, ok := newAction[e.Kind]
	if !ok {
		return c, fmt.Errorf("command %.40q is not known to this version", e.Kind)
	}
	do := fresh()
	if err := json.Unmarshal(e.Do, do); err != nil {
		return c, fmt.Errorf("decode %s: %w", e.Kind, err)
	}
	c.Do = do
	return c, nil
}
