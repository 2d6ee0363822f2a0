package serviceaddr

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	table    = 191 // of the routes from the service address
	priority = 191 // of the rule that leads there

	// mark is the alias by which the link is known as ours.
	mark = "beffroi:service"
)

// open is a door to the kernel, and the lan's link behind it. The caller closes it.
func open(cfg Config) (*netlink.Handle, netlink.Link, error) {
	k, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, nil, fmt.Errorf("netlink: %w", err)
	}
	lan, err := k.LinkByName(cfg.Lan)
	if err != nil {
		k.Close()
		return nil, nil, fmt.Errorf("lan link %s: %w", cfg.Lan, err)
	}
	return k, lan, nil
}

// take makes the link, its addresses, routes and rules, as far as they are missing.
func take(cfg Config, mac net.HardwareAddr) error {
	k, lan, err := open(cfg)
	if err != nil {
		return err
	}
	defer k.Close()
	l, err := link(k, lan, mac)
	if err != nil {
		return err
	}
	if err := settings(cfg.Service.Address6.IsValid()); err != nil {
		return err
	}
	if err := k.LinkSetUp(l); err != nil {
		return fmt.Errorf("bring %s up: %w", LinkName, err)
	}
	if err := addresses(k, l, prefixes(cfg.Service)); err != nil {
		return err
	}
	for _, p := range prefixes(cfg.Service) {
		if err := routes(k, lan, l, p); err != nil {
			return err
		}
	}
	return settled(k, cfg.Service.Address6)
}

// settled waits until the kernel answers for the IPv6 address: it takes a new one
// into its tables by a work queue, a moment after it was added.
func settled(k *netlink.Handle, p netip.Prefix) error {
	if !p.IsValid() {
		return nil
	}
	for end := time.Now().Add(time.Second); ; time.Sleep(time.Millisecond) {
		routes, err := k.RouteGet(p.Addr().AsSlice())
		if err == nil && len(routes) > 0 && routes[0].Type == unix.RTN_LOCAL {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("address %v does not become usable: %v, %w", p, routes, err)
		}
	}
}

// link returns our macvlan above the lan, a new one if what is there is another.
func link(k *netlink.Handle, lan netlink.Link, mac net.HardwareAddr) (netlink.Link, error) {
	l, err := k.LinkByName(LinkName)
	if err == nil {
		if l.Type() == "macvlan" && l.Attrs().ParentIndex == lan.Attrs().Index && bytes.Equal(l.Attrs().HardwareAddr, mac) {
			return l, nil
		}
		if err := k.LinkDel(l); err != nil {
			return nil, fmt.Errorf("remove the old %s: %w", LinkName, err)
		}
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.ParentIndex, attrs.HardwareAddr = LinkName, lan.Attrs().Index, mac
	if err := k.LinkAdd(&netlink.Macvlan{LinkAttrs: attrs, Mode: netlink.MACVLAN_MODE_BRIDGE}); err != nil {
		return nil, fmt.Errorf("make %s: %w", LinkName, err)
	}
	if l, err = k.LinkByName(LinkName); err != nil {
		return nil, fmt.Errorf("find %s: %w", LinkName, err)
	}
	if err := k.LinkSetAlias(l, mark); err != nil {
		return nil, fmt.Errorf("mark %s: %w", LinkName, err)
	}
	return l, nil
}

// settings has the link answer for its own addresses only, at once, and learn no
// routes.
func settings(ipv6 bool) error {
	off := "1"
	if ipv6 {
		off = "0"
	}
	for _, s := range []struct{ path, value string }{
		{"ipv4/conf/" + LinkName + "/arp_ignore", "1"},
		{"ipv4/conf/" + LinkName + "/arp_announce", "2"},
		{"ipv4/conf/" + LinkName + "/rp_filter", "2"},
		{"ipv6/conf/" + LinkName + "/disable_ipv6", off},
		{"ipv6/conf/" + LinkName + "/accept_ra", "0"},
		{"ipv6/conf/" + LinkName + "/accept_dad", "0"},
		{"ipv6/conf/" + LinkName + "/dad_transmits", "0"},
	} {
		if err := os.WriteFile("/proc/sys/net/"+s.path, []byte(s.value), 0); err != nil && (ipv6 || !errors.Is(err, fs.ErrNotExist)) {
			return fmt.Errorf("set %s: %w", s.path, err)
		}
	}
	return nil
}

// addresses puts exactly the wanted ones on the link. They bring no route to the
// main table, where the lan's own network already is.
func addresses(k *netlink.Handle, l netlink.Link, want []netip.Prefix) error {
	there, err := k.AddrList(l, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("list addresses of %s: %w", LinkName, err)
	}
next:
	for _, a := range there {
		for _, p := range want {
			if a.IPNet.String() == p.String() {
				continue next
			}
		}
		if a.Scope != unix.RT_SCOPE_UNIVERSE {
			continue
		}
		if err := k.AddrDel(l, &a); err != nil {
			return fmt.Errorf("remove the old address %v: %w", a.IPNet, err)
		}
	}
	for _, p := range want {
		a := &netlink.Addr{IPNet: ipnet(p), Flags: unix.IFA_F_NODAD | unix.IFA_F_NOPREFIXROUTE}
		if err := k.AddrReplace(l, a); err != nil {
			return fmt.Errorf("add address %v: %w", p, err)
		}
	}
	return nil
}

// routes leads what comes from the address through the link: to the network
// itself, and to the lan's gateways.
func routes(k *netlink.Handle, lan, l netlink.Link, p netip.Prefix) error {
	family := familyOf(p)
	direct := &netlink.Route{LinkIndex: l.Attrs().Index, Dst: ipnet(p.Masked()), Table: table, Scope: netlink.SCOPE_LINK}
	if err := k.RouteReplace(direct); err != nil {
		return fmt.Errorf("route to %v: %w", p.Masked(), err)
	}
	if err := gateway(k, lan, l, family); err != nil {
		return err
	}
	rule := netlink.NewRule()
	rule.Family, rule.Table, rule.Priority, rule.Src = family, table, priority, ipnet(netip.PrefixFrom(p.Addr(), p.Addr().BitLen()))
	if err := k.RuleAdd(rule); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("rule from %v: %w", p.Addr(), err)
	}
	return nil
}

// gateway copies the lan's default route. While the lan has none, as when its DHCP server
// is silent, the one that is there stays: answers leave by it as before.
func gateway(k *netlink.Handle, lan, l netlink.Link, family int) error {
	main, err := k.RouteListFiltered(family, &netlink.Route{LinkIndex: lan.Attrs().Index, Table: unix.RT_TABLE_MAIN},
		netlink.RT_FILTER_OIF|netlink.RT_FILTER_TABLE)
	if err != nil {
		return fmt.Errorf("list the lan's routes: %w", err)
	}
	for _, r := range main {
		if r.Gw == nil || r.Dst != nil && !r.Dst.IP.IsUnspecified() {
			continue
		}
		out := &netlink.Route{LinkIndex: l.Attrs().Index, Dst: r.Dst, Gw: r.Gw, Table: table, Flags: int(netlink.FLAG_ONLINK)}
		if err := k.RouteReplace(out); err != nil {
			return fmt.Errorf("default route via %v: %w", r.Gw, err)
		}
		break // the first is the one in use
	}
	return nil
}

// refresh copies the lan's default routes anew. It makes nothing else: when a fence has
// taken the link meanwhile, nothing comes back.
func refresh(cfg Config) error {
	k, lan, err := open(cfg)
	if err != nil {
		return err
	}
	defer k.Close()
	l, err := k.LinkByName(LinkName)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("find %s: %w", LinkName, err)
	}
	var faults []error
	for _, p := range prefixes(cfg.Service) {
		faults = append(faults, gateway(k, lan, l, familyOf(p)))
	}
	return errors.Join(faults...)
}

func familyOf(p netip.Prefix) int {
	if p.Addr().Is6() {
		return netlink.FAMILY_V6
	}
	return netlink.FAMILY_V4
}

// Stale removes the service address, whoever left it here: at start, and when a
// node is fenced. To find nothing is no fault.
func Stale() error {
	k, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("drop the service address: netlink: %w", err)
	}
	defer k.Close()
	var faults []error
	if l, err := k.LinkByName(LinkName); err == nil {
		if err := k.LinkDel(l); err != nil && !errors.Is(err, unix.ENODEV) {
			faults = append(faults, fmt.Errorf("drop the service address: remove %s: %w", LinkName, err))
		}
	} else if !errors.As(err, new(netlink.LinkNotFoundError)) {
		faults = append(faults, fmt.Errorf("drop the service address: find %s: %w", LinkName, err))
	}
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		rules, err := k.RuleListFiltered(family, &netlink.Rule{Table: table}, netlink.RT_FILTER_TABLE)
		if err != nil {
			if !errors.Is(err, unix.EAFNOSUPPORT) {
				faults = append(faults, fmt.Errorf("drop the service address: list rules: %w", err))
			}
			continue
		}
		for _, r := range rules {
			r.Family = family
			if err := k.RuleDel(&r); err != nil && !errors.Is(err, unix.ENOENT) {
				faults = append(faults, fmt.Errorf("drop the service address: remove rule %v: %w", r, err))
			}
		}
	}
	return errors.Join(faults...)
}

func ipnet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
