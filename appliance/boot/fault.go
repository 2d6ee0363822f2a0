package boot

import (
	"errors"

	"beffroi.dev/appliance/seed"
	"beffroi.dev/pkg/host/layout"
	"beffroi.dev/pkg/host/netcfg"
	"beffroi.dev/pkg/host/rootfs"
	"beffroi.dev/pkg/host/watchdog"
)

// Fault names why a phase failed, for who words it in the reader's language. The error
// itself is the detail of it; what has no name is shown as it is.
type Fault string

// noPort is the fault of a role of the network without its card.
const noPort Fault = "no-port"

// faults in the order in which they explain an error that is several of them.
var faults = []struct {
	is   error
	name Fault
}{
	{rootfs.ErrDamaged, "state-damaged"},
	{layout.ErrTooSmall, "disk-too-small"},
	{layout.ErrNoTable, "disk-without-table"},
	{rootfs.ErrManyPartitions, "disk-twice"},
	{rootfs.ErrNoPartition, "disk-missing"},
	{seed.ErrKey, "seed-key"},
	{seed.ErrNewer, "seed-newer"},
	{seed.ErrDamaged, "seed-damaged"},
	{watchdog.ErrNone, "watchdog-missing"},
	{watchdog.ErrSoftware, "watchdog-software"},
	{rootfs.ErrNoModule, "driver-missing"},
}

// Faults lists all names.
func Faults() []Fault {
	names := []Fault{noPort}
	for _, f := range faults {
		names = append(names, f.name)
	}
	return names
}

// faultOf names an error; empty when it has no name.
func faultOf(err error) Fault {
	for _, f := range faults {
		if errors.Is(err, f.is) {
			return f.name
		}
	}
	var port netcfg.Fault
	if errors.As(err, &port) {
		return noPort
	}
	return ""
}

// rolesOf names the roles of the network that an error says have no card.
func rolesOf(err error) (all []string) {
	switch e := err.(type) { // the tree itself: As finds one only
	case netcfg.Fault:
		return []string{e.Role}
	case interface{ Unwrap() []error }:
		for _, part := range e.Unwrap() {
			all = append(all, rolesOf(part)...)
		}
	case interface{ Unwrap() error }:
		return rolesOf(e.Unwrap())
	}
	return all
}
