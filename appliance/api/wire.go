package api

import (
	"time"

	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/cluster"
)

// Group is a volume group. Nodes are named, not numbered.
type Group struct {
	ID         ident.Group        `json:"id"`
	Name       string             `json:"name"`
	Primary    string             `json:"primary"`
	Preferred  string             `json:"preferred"`
	InSync     []string           `json:"in_sync"`
	Epoch      ident.Epoch        `json:"epoch"`
	Durability cluster.Durability `json:"durability"`
	Citizen    bool               `json:"citizen"` // it holds the citizen service
	VM         string             `json:"vm,omitempty"`
	Volumes    []Volume           `json:"volumes"`
}

// Volume is one disk of a group.
type Volume struct {
	ID        ident.Volume `json:"id"`
	Name      string       `json:"name"`
	Group     string       `json:"group"`
	SizeBytes int64        `json:"size_bytes"`
	Primary   string       `json:"primary"`
	InSync    []string     `json:"in_sync"`
}

// NewGroup asks for a group.
type NewGroup struct {
	Name       string              `json:"name"`
	Prefer     string              `json:"prefer,omitempty"`     // a node's name; this one by default
	Durability cluster.Durability  `json:"durability,omitempty"` // strict by default
	Volumes    []cluster.NewVolume `json:"volumes"`
}

// Target names a node.
type Target struct {
	Node string `json:"node"`
}

// VM is a virtual machine. State and what follows are known on the node where it
// runs only.
type VM struct {
	ID         ident.VM   `json:"id"`
	Name       string     `json:"name"`
	Group      string     `json:"group"`
	CPUs       int        `json:"cpus"`
	MemoryMB   int        `json:"memory_mb"`
	Firmware   string     `json:"firmware"`
	Run        bool       `json:"run"` // what is wanted
	Node       string     `json:"node,omitempty"`
	Generation uint64     `json:"generation"`
	State      string     `json:"state,omitempty"`
	Cause      string     `json:"cause,omitempty"`
	Since      *time.Time `json:"since,omitempty"`
	Accel      string     `json:"accel,omitempty"`
	NICs       []NIC      `json:"nics"`
	Network    string     `json:"network,omitempty"` // none-in-process-mode: its cards are not there
}

// NIC is a network card of a VM, on the town's network.
type NIC struct {
	MAC string `json:"mac"` // the same on both nodes, for ever
}

// NewVM asks for a VM on the volumes of a group.
type NewVM struct {
	Name     string `json:"name"`
	Group    string `json:"group,omitempty"` // that of its name by default
	CPUs     int    `json:"cpus,omitempty"`  // 1 by default
	MemoryMB int    `json:"memory_mb,omitempty"`
	Firmware string `json:"firmware,omitempty"` // bios by default
	Run      bool   `json:"run"`
	NICs     *int   `json:"nics,omitempty"` // network cards, 0 to 4; 1 by default
}

// Phase is how far a job is.
type Phase string

// The phases of an import, in their order, and the ends of every job.
const (
	PhaseUpload Phase = "upload"
	PhaseCreate Phase = "create"
	PhaseWait   Phase = "wait" // until the group serves
	PhaseCopy   Phase = "copy"
	PhaseFinish Phase = "finish"
	PhaseClean  Phase = "clean-up"
	PhaseDone   Phase = "done"
	PhaseFailed Phase = "failed"
)

// Job is something that takes time.
type Job struct {
	ID         uint64     `json:"id"`
	Kind       string     `json:"kind"` // import
	VM         string     `json:"vm"`
	User       string     `json:"user"`
	Phase      Phase      `json:"phase"`
	Percent    int        `json:"percent"` // of the phase
	DoneBytes  int64      `json:"done_bytes"`
	TotalBytes int64      `json:"total_bytes"` // 0: not known
	Error      string     `json:"error,omitempty"`
	Started    time.Time  `json:"started"`
	Ended      *time.Time `json:"ended,omitempty"`
}

// User is an account, without its secrets.
type User struct {
	Name string       `json:"name"`
	Role cluster.Role `json:"role"`
	TOTP bool         `json:"totp"` // it logs in with a second factor
}

// NewUser makes or changes an account. An empty password keeps the old one.
type NewUser struct {
	Role     cluster.Role `json:"role"`
	Password string       `json:"password,omitempty"`
}

// NewAgent asks for a counter agent: somebody of the town hall who answers citizens'
// reports. The answer is an agents.Enrolment.
type NewAgent struct {
	Name     string `json:"name"`
	Display  string `json:"display"` // first and last name
	Password string `json:"password"`
}

// AgentRenewal gives an agent a new password, a new one-time secret, or both.
type AgentRenewal struct {
	Password string `json:"password,omitempty"`
	Secret   bool   `json:"secret,omitempty"`
}

// ServiceGroup names the group of the citizen service; empty for none.
type ServiceGroup struct {
	Group string `json:"group"`
}

// Changed is the answer to a change.
type Changed struct {
	Changed bool `json:"changed"`
}

// Code tells errors apart; it is stable.
type Code string

// The codes.
const (
	BadInput        Code = "bad-input"
	BadImage        Code = "bad-image"
	TooLarge        Code = "too-large"
	Unauthenticated Code = "unauthenticated"
	Forbidden       Code = "forbidden"
	NotFound        Code = "not-found"
	Refused         Code = "refused"     // by the rules of the pair
	Elsewhere       Code = "elsewhere"   // ask the node that Error.Node names
	Unavailable     Code = "unavailable" // trying again may help
	Failed          Code = "failed"
)

// Error is the answer to what was not done.
type Error struct {
	Message string `json:"error"`
	Hint    string `json:"hint,omitempty"`
	Code    Code   `json:"code"`
	Node    string `json:"node,omitempty"`
	Field   string `json:"field,omitempty"` // of the request, where one is at fault
}

func (e *Error) Error() string { return e.Message }
