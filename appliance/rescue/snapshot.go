package rescue

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"time"

	"beffroi.dev/appliance/operator"
)

// Source tells what is so now. A call may fail in any part: it says so in the
// part's Err and gives the rest.
type Source interface {
	Snapshot(ctx context.Context) Snapshot
}

// Machine does what the menu offers. Every method may take its time: the console
// goes on without it.
type Machine interface {
	Reboot(ctx context.Context) error
	PowerOff(ctx context.Context) error
	RestartService(ctx context.Context, name string) error
	// CheckPassword says whether the administrator's password is right.
	CheckPassword(ctx context.Context, password string) (bool, error)
	// OpenShell runs a shell on tty until it ends; reads of tty end with ctx.
	OpenShell(ctx context.Context, tty io.ReadWriter) error
}

// Actions is everything that the console can ask for.
type Actions interface {
	Machine
	// TailLog gives the last lines of a service's log, oldest first.
	TailLog(ctx context.Context, service string, lines int) ([]string, error)
	// Ask asks init for what only it may do. A refusal is a *pairing.Fault.
	Ask(ctx context.Context, a operator.Ask) error
}

// Errors that the console words in the reader's language.
var (
	ErrUnavailable = errors.New("not available on this machine")
	ErrNoPassword  = errors.New("no password of the recovery shell is set (file rescue-password)")
	ErrNotRunning  = errors.New("the service does not run")
)

// Snapshot is what is known at one moment. Times are the node's own.
type Snapshot struct {
	At       time.Time
	Host     Host
	Boot     Boot
	Net      Net
	Pair     Pair
	Pairing  Pairing
	Watchdog Watchdog
	Services []string  // that can be restarted, by name
	NoInit   bool      // this console stands in for an init that cannot live
	Troubled []Service // that fail, or have failed just now
	Recovers *int64    // MB that the block service has read of a store it recovers; nil: it does not
	Logs     []string  // that can be read, by name
	// Operator is what init says of a founding and of the network.
	Operator    operator.State
	OperatorErr error // why init says nothing
	NoShell     error // why there is no shell; nil: there is one
}

// Service is one that fails.
type Service struct {
	Name     string
	State    string // as init names it
	Down     bool   // it does not work now
	Failures int    // in a row
	Words    string // its last ones, or how it ended
}

// Host is this machine.
type Host struct {
	Name           string
	Kernel         string
	Uptime         time.Duration
	MemoryBytes    int64
	MemoryFree     int64 // that programs could take
	StateBytes     int64 // of the file system of the state folder
	StateFree      int64
	Err            error
	ReleaseVersion string // of this program
}

// Boot is the table of phases; without phases nothing is known of it.
type Boot struct {
	Version string
	Phases  []Phase
	Trial   *Trial  // nil: it is not on trial
	Ending  *Ending // nil: the machine does not go down
	Err     error

	Watchdog *ArmedWatchdog // as init says; nil: it says none
}

// ArmedWatchdog is what init has armed.
type ArmedWatchdog struct {
	Driver  string
	Seconds float64
}

// Trial is how a boot that is tried fares: its entry is kept only when it is good.
type Trial struct {
	State         string // on-trial, good, failed
	Cause, Detail string // why it is not good yet; see boot.Cause
	Back          bool   // if it stays so the node goes back to the release before
}

// Ending is what a machine that goes down still waits for.
type Ending struct {
	Guests        int // that have not ended
	Group, Groups int // that are handed over
}

// Phase is one step of the boot.
type Phase struct {
	Name    string
	State   string // waiting, running, done, failed (tried again), skipped (went on without)
	Seconds float64
	Error   string
	Fault   string   // what the error is, if it has a name: see boot.Fault
	Roles   []string // of the network that the error is about
}

// Net is what the ports and addresses are.
type Net struct {
	Ports    []Port
	Gateway  netip.Addr // IPv4
	Gateway6 netip.Addr
	Service  string // the address that citizens use
	Cards    []Card // which play a role, as init sees them
	Err      error
}

// Card is the one of a role.
type Card struct {
	Role string // lan, fibre1, fibre2
	Name string // empty: it has none
	From string // the card in which a fibre that was found had been looked for
	Twin bool   // the other node is heard on it
}

// Port is one network port.
type Port struct {
	Name      string // by its role where it has one: lan, fibre1, fibre2
	Up        bool
	Addresses []netip.Prefix
}

// Watchdog is the one that init feeds: the hardware's, or in its place the kernel's own.
type Watchdog struct {
	Known   bool
	Armed   bool
	Driver  string
	Timeout time.Duration
}

// Pairing is whether the node belongs to a pair.
type Pairing struct {
	Known  bool
	Paired bool
	Err    error // why it is not known
}

// Pair is the state of the pair as this node sees it.
type Pair struct {
	Known   bool // the node service has answered
	Err     error
	Self    string
	Site    string
	Leader  string // of the vote; empty: nobody
	Vouched bool   // a majority vouches for this node
	Members []Member
	Links   []Link
	Store   *Store
	Groups  []Group
	VMs     []VM
	Citizen Citizen
	Alarms  []Alarm // worst first
	Events  []Event // newest last
}

// Member is a voter.
type Member struct {
	Name, Site string
	Witness    bool
	Self       bool
	Up         bool
}

// Link is a path to another voter.
type Link struct {
	Path, Peer string
	Up         bool
	Data       bool // carries the mirror now
}

// Store is this node's block store.
type Store struct {
	Age      time.Duration // since it was reported
	Capacity int64
	Free     int64
	Linked   bool // with the twin
	Failed   string
}

// Group is a group of volumes.
type Group struct {
	Name    string
	Citizen bool
	Primary string
	InSync  []string // names of the nodes that hold everything
	Resync  *Resync
}

// Resync is the twin being brought up to date.
type Resync struct {
	Percent int
	Left    time.Duration // expected; negative: not known
}

// VM is a virtual machine.
type VM struct {
	Name  string
	Node  string // where it is placed
	State string // here: running, starting, paused-io, failed...; empty when it is elsewhere
	Run   bool   // it should run
	Cause string
}

// Citizen says who serves the citizens.
type Citizen struct {
	Known  bool
	By     string // empty: nobody that this node knows of
	Copies int
	Cause  string // why not
	Here   bool   // this node holds the service address
}

// Alarm is something that an operator should know.
type Alarm struct{ Code, Object string }

// Event is one line of the pair's history.
type Event struct {
	At                      time.Time
	Kind, Object, New, Text string
}
