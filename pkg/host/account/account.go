package account

import "fmt"

// ID is the number of a user or of a group.
type ID uint32

// Users; each has a group of the same number and name.
const (
	Root    ID = 0
	Citizen ID = 200
	Console ID = 201
	VM      ID = 202
	Node    ID = 203
	Block   ID = 204
)

// Groups that are rights.
const (
	Services ID = 220
	Key      ID = 221
	Disk     ID = 222
	KVM      ID = 223
	Tap      ID = 224
)

// firstGuest is the number below those of guests; ordinary distributions use none
// as high for people or services.
const firstGuest ID = 100000

// maxGuest bounds the identities of VMs that have a number.
const maxGuest = 1 << 30

// OfGuest is the user, and the group, of a VM's QEMU.
func OfGuest(vm uint64) (ID, error) {
	if vm == 0 || vm > maxGuest {
		return 0, fmt.Errorf("VM %d has no user: identities from 1 to %d do", vm, maxGuest)
	}
	return firstGuest + ID(vm), nil
}

// GuestOf is the VM whose QEMU runs as a user; ok is false for other users.
func GuestOf(user ID) (vm uint64, ok bool) {
	if user <= firstGuest || user > firstGuest+maxGuest {
		return 0, false
	}
	return uint64(user - firstGuest), true
}

// entry is a line of passwd, or of group.
type entry struct {
	id      ID
	name    string
	user    bool
	members []string // of a group that is a right
}

var table = []entry{
	{id: Root, name: "root", user: true},
	{id: Citizen, name: "beffroi-citizen", user: true},
	{id: Console, name: "beffroi-console", user: true},
	{id: VM, name: "beffroi-vm", user: true},
	{id: Node, name: "beffroi-node", user: true},
	{id: Block, name: "beffroi-block", user: true},
	{id: Services, name: "beffroi", members: []string{"beffroi-citizen", "beffroi-console", "beffroi-vm", "beffroi-node", "beffroi-block"}},
	{id: Key, name: "beffroi-key", members: []string{"beffroi-node", "beffroi-block"}},
	{id: Disk, name: "beffroi-disk", members: []string{"beffroi-citizen", "beffroi-console"}},
	{id: KVM, name: "kvm", members: []string{"beffroi-vm"}},
	{id: Tap, name: "beffroi-tap"}, // QEMUs alone, which have no names
}

// Groups are the groups that a user is a member of, beside its own.
func Groups(user ID) []ID {
	var ids []ID
	name := Name(user)
	for _, e := range table {
		for _, m := range e.members {
			if m == name {
				ids = append(ids, e.id)
			}
		}
	}
	return ids
}

// Name is a number's name; empty if it has none.
func Name(id ID) string {
	for _, e := range table {
		if e.id == id {
			return e.name
		}
	}
	return ""
}

// Passwd is /etc/passwd.
func Passwd(shell string) []byte {
	var b []byte
	for _, e := range table {
		if e.user {
			b = fmt.Appendf(b, "%s:x:%d:%d::/:%s\n", e.name, e.id, e.id, shell)
		}
	}
	return b
}

// Group is /etc/group.
func Group() []byte {
	var b []byte
	for _, e := range table {
		b = fmt.Appendf(b, "%s:x:%d:", e.name, e.id)
		for i, m := range e.members {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(b, m...)
		}
		b = append(b, '\n')
	}
	return b
}
