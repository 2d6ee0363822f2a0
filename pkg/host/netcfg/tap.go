package netcfg

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Tap is a guest's end of the bridge.
type Tap struct {
	Link  string
	VM    string
	Index int
	Used  bool // somebody has it open
}

// TapName is the link of a VM's index-th card. It depends on nothing else, so that
// a restarted supervisor finds it again.
func TapName(vm string, index int) string {
	sum := sha256.Sum256([]byte(vm))
	return fmt.Sprintf("t%x-%d", sum[:4], index)
}

// AddTap makes the tap of a VM's card, owned by uid and the group of that number, and
// joined to the bridge. A process opens it without any capability when it is both. It
// returns the name of its link. If it is there already it is only put right.
func (e *Engine) AddTap(vm string, index, uid int) (string, error) {
	name := TapName(vm, index)
	if vm == "" || index < 0 || index > 99 || uid < 0 {
		return "", fmt.Errorf("tap of %q: index %d, uid %d: out of range", vm, index, uid)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.set {
		return "", errors.New("tap: no network configuration was applied yet")
	}
	k, err := openKernel()
	if err != nil {
		return "", err
	}
	defer k.Close()
	if err := k.addTap(name, aliasTap+fmt.Sprintf("%d:%s", index, vm), e.cfg.Bridge, uid); err != nil {
		return "", fmt.Errorf("tap %s of %s: %w", name, vm, err)
	}
	return name, nil
}

func (k kernel) addTap(name, mark, bridge string, uid int) error {
	l, err := k.LinkByName(name)
	if t, ok := l.(*netlink.Tuntap); err == nil && (!ok || int(t.Owner) != uid || int(t.Group) != uid) {
		if err := k.LinkDel(l); err != nil {
			return fmt.Errorf("remove the one of another owner: %w", err)
		}
		err = netlink.LinkNotFoundError{}
	}
	if err != nil {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = name
		if err := k.LinkAdd(&netlink.Tuntap{LinkAttrs: attrs, Mode: netlink.TUNTAP_MODE_TAP, Owner: uint32(uid), Group: uint32(uid),
			Flags: netlink.TUNTAP_NO_PI | netlink.TUNTAP_VNET_HDR | netlink.TUNTAP_TUN_EXCL}); err != nil {
			return fmt.Errorf("make it: %w", err)
		}
		if l, err = k.LinkByName(name); err != nil {
			return fmt.Errorf("find it: %w", err)
		}
	}
	return errors.Join(
		k.LinkSetAlias(l, mark),
		writeSysctl(Sysctl{Path: "net/ipv6/conf/" + name + "/disable_ipv6", Value: "1", Optional: true}),
		k.join(l, bridge),
		k.LinkSetUp(l))
}

// RemoveTap removes the tap of a VM's card; there may be none.
func (e *Engine) RemoveTap(vm string, index int) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	k, err := openKernel()
	if err != nil {
		return err
	}
	defer k.Close()
	if err := k.do(Step{Action: DelLink, Link: Link{Name: TapName(vm, index)}}); err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("tap of %s: %w", vm, err)
	}
	return nil
}

// Taps lists the taps that are there, whoever made them: after a restart, those
// of VMs that are gone can be removed.
func (e *Engine) Taps() ([]Tap, error) {
	k, err := openKernel()
	if err != nil {
		return nil, err
	}
	defer k.Close()
	links, err := k.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list taps: %w", err)
	}
	var taps []Tap
	for _, l := range links {
		mark, ok := strings.CutPrefix(l.Attrs().Alias, aliasTap)
		if !ok {
			continue
		}
		t := Tap{Link: l.Attrs().Name, Used: l.Attrs().RawFlags&unix.IFF_LOWER_UP != 0}
		index, vm, _ := strings.Cut(mark, ":")
		if _, err := fmt.Sscanf(index, "%d", &t.Index); err == nil {
			t.VM = vm
			taps = append(taps, t)
		}
	}
	return taps, nil
}
