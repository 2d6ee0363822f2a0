package store

import (
	"fmt"
	"net"
	"os"

	"beffroi.dev/appliance/socket"
	"beffroi.dev/pkg/block/nbd"
	"beffroi.dev/pkg/host/account"
	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/cluster"
)

// For lets a client of an appliance open its own volumes only: a QEMU those of its
// VM, the citizen service its own, the console all, into which it copies images.
// Where clients run as this service's own user, they may open all.
func (e exports) For(nc net.Conn) nbd.Exports {
	peer, err := socket.PeerOf(nc)
	if err != nil {
		e.s.log.Warn("client of a volume is not known", "cause", err)
		return door{e, func(*cluster.State, cluster.Group) bool { return false }}
	}
	if may := opens(peer.User, os.Getuid()); may != nil {
		return door{e, may}
	}
	return e
}

// opens says which groups a user may open volumes of; nil: all.
func opens(user, own int) func(*cluster.State, cluster.Group) bool {
	switch {
	case user == 0 || user == own || user == int(account.Console):
		return nil
	case user == int(account.Citizen):
		return func(st *cluster.State, g cluster.Group) bool { return st.Service.Group == g.ID }
	}
	vm, guest := account.GuestOf(account.ID(user))
	return func(st *cluster.State, g cluster.Group) bool {
		v, ok := st.VMs[ident.VM(vm)]
		return guest && ok && v.Group == g.ID
	}
}

// door is the exports that one client may open.
type door struct {
	exports
	may func(*cluster.State, cluster.Group) bool
}

// Open refuses what is not the client's as if it were not there.
func (d door) Open(name string) (nbd.Export, error) {
	st := d.s.current()
	if st != nil {
		for _, g := range st.Groups {
			if g.Name == groupOf(name) && !d.may(st, g) {
				return nbd.Export{}, fmt.Errorf("volume %q: %w", name, errNoExport)
			}
		}
	}
	return d.exports.Open(name)
}

// List shows nothing: who may open one volume knows its name.
func (d door) List() []string { return nil }
