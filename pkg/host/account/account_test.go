package account_test

import (
	"slices"
	"strings"
	"testing"

	"beffroi.dev/pkg/host/account"
)

func TestTheFilesAreTheTable(t *testing.T) {
	passwd, group := string(account.Passwd("/bin/sh")), string(account.Group())
	for _, want := range []string{"root:x:0:0::/:/bin/sh\n", "beffroi-citizen:x:200:200::/:/bin/sh\n", "beffroi-block:x:204:204::/:/bin/sh\n"} {
		if !strings.Contains(passwd, want) {
			t.Errorf("passwd lacks %q:\n%s", want, passwd)
		}
	}
	for _, want := range []string{"beffroi-node:x:203:\n", "beffroi-key:x:221:beffroi-node,beffroi-block\n", "kvm:x:223:beffroi-vm\n", "beffroi-tap:x:224:\n"} {
		if !strings.Contains(group, want) {
			t.Errorf("group lacks %q:\n%s", want, group)
		}
	}
	seen := map[string]bool{}
	for line := range strings.Lines(group) {
		f := strings.Split(line, ":")
		if seen[f[0]] || seen[f[2]] {
			t.Errorf("name or number used twice: %s", line)
		}
		seen[f[0]], seen[f[2]] = true, true
	}
}

// Numbers stand in files of the state partition: they may never change.
func TestNumbersStay(t *testing.T) {
	for id, name := range map[account.ID]string{
		0: "root", 200: "beffroi-citizen", 201: "beffroi-console", 202: "beffroi-vm", 203: "beffroi-node", 204: "beffroi-block",
		220: "beffroi", 221: "beffroi-key", 222: "beffroi-disk", 223: "kvm", 224: "beffroi-tap",
	} {
		if account.Name(id) != name {
			t.Errorf("%d is %q; want %q", id, account.Name(id), name)
		}
	}
	if got := account.Groups(account.Citizen); !slices.Equal(got, []account.ID{account.Services, account.Disk}) {
		t.Errorf("the citizen service is in %v", got)
	}
}

func TestEachGuestHasANumberOfItsOwn(t *testing.T) {
	a, errA := account.OfGuest(1)
	b, errB := account.OfGuest(1 << 30)
	if errA != nil || errB != nil || a != 100001 || b != 100000+1<<30 {
		t.Errorf("%d, %v; %d, %v", a, errA, b, errB)
	}
	for _, vm := range []uint64{1, 77, 1 << 30} {
		id, _ := account.OfGuest(vm)
		if back, ok := account.GuestOf(id); !ok || back != vm {
			t.Errorf("user %d is VM %d, %v", id, back, ok)
		}
	}
	for _, id := range []account.ID{account.Root, account.Citizen, 65534, 100000, 100001 + 1<<30} {
		if vm, ok := account.GuestOf(id); ok {
			t.Errorf("user %d is VM %d", id, vm)
		}
	}
	for _, vm := range []uint64{0, 1<<30 + 1, 1 << 40} {
		if id, err := account.OfGuest(vm); err == nil {
			t.Errorf("VM %d got user %d", vm, id)
		}
	}
}
