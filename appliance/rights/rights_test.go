package rights_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"beffroi.dev/appliance/config"
	"beffroi.dev/appliance/rights"
	"beffroi.dev/pkg/host/account"
	"beffroi.dev/pkg/host/supervise"
)

func TestNoServiceRunsAsRootOrAsAnother(t *testing.T) {
	p := rights.Plan{Dir: "/state/node", Store: "/dev/x", Groups: "/sys/fs/cgroup"}
	users, names := map[uint32]string{}, map[string]bool{}
	for _, name := range []string{"node", "block", "vm", "citizen", "console"} {
		s := supervise.Service{Name: name}
		p.Grant(&s)
		if s.User == nil || s.User.Uid == 0 || s.User.Gid != s.User.Uid || users[s.User.Uid] != "" {
			t.Errorf("%s runs as %+v", name, s.User)
			continue
		}
		users[s.User.Uid] = name
		if s.Group == "" || s.Before == nil || len(s.Sockets) == 0 || len(s.Caps) > 0 && name != "vm" {
			t.Errorf("%s: %+v", name, s)
		}
		for _, k := range s.Sockets {
			if err := k.Validate(); err != nil || names[k.Name] {
				t.Errorf("socket %s: %v, used twice: %v", k.Name, err, names[k.Name])
			}
			names[k.Name] = true
		}
	}
	w := supervise.Service{Name: "witness"}
	if p.Grant(&w); w.User != nil {
		t.Error("the witness is no service of an appliance")
	}
}

func TestGuestsDevicesAreForTheirUsersAlone(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can give files away")
	}
	base := t.TempDir()
	want := map[string]account.ID{filepath.Join(base, "dev", "kvm"): account.KVM, filepath.Join(base, "dev", "net", "tun"): account.Tap}
	for path := range want {
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, nil, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	p := rights.Plan{Dir: config.Dir(filepath.Join(base, "node")), Devices: filepath.Join(base, "dev")}
	if err := p.Settle(); err != nil {
		t.Fatal(err)
	}
	for path, group := range want {
		var st unix.Stat_t
		if err := unix.Stat(path, &st); err != nil || st.Uid != 0 || account.ID(st.Gid) != group || st.Mode&0o777 != 0o660 {
			t.Errorf("%s: %d:%d, mode %o, %v; want group %d and no other", path, st.Uid, st.Gid, st.Mode&0o777, err, group)
		}
	}
}

// A service that was broken into must not lead root to files that are not its own.
func TestRootFollowsNoLinkOfAService(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can give files away")
	}
	base := t.TempDir()
	d := config.Dir(filepath.Join(base, "node"))
	p := rights.Plan{Dir: d, Store: filepath.Join(base, "store")}
	secret := filepath.Join(base, "secret")
	for _, f := range []string{secret, p.Store} {
		if err := os.WriteFile(f, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(d.Uploads(), 0o700); err != nil { // by an earlier life, as root
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(d.Uploads(), "old"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := p.Settle(); err != nil {
		t.Fatal(err)
	}
	owner := func(path string) account.ID {
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			t.Fatal(err)
		}
		return account.ID(st.Uid)
	}
	if got := owner(filepath.Join(d.Uploads(), "old")); got != account.Console {
		t.Errorf("what lay in the folder is of %d", got)
	}
	for name, to := range map[string]string{"link": secret} {
		if err := os.Symlink(to, filepath.Join(d.Uploads(), name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Link(secret, filepath.Join(d.Uploads(), "hard")); err != nil {
		t.Fatal(err)
	}
	if err := p.Settle(); err != nil {
		t.Fatal(err)
	}
	if got := owner(secret); got != account.Root {
		t.Errorf("the secret is of %d now", got)
	}
	if got := owner(p.Store); got != account.Block {
		t.Errorf("the store is of %d", got)
	}
}
