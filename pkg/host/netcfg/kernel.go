package netcfg

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// routeProtocol marks the routes that we made.
const routeProtocol = 66

// kernel is one connection to the kernel's view of the network.
type kernel struct{ *netlink.Handle }

func openKernel() (kernel, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return kernel{}, fmt.Errorf("netlink: %w", err)
	}
	return kernel{h}, nil
}

// observe reads what is there, as far as a plan speaks of it.
func (k kernel) observe(p Plan) (State, error) {
	s := State{Sysctls: map[string]string{}}
	links, err := k.LinkList()
	if err != nil {
		return s, fmt.Errorf("list links: %w", err)
	}
	names := map[int]string{}
	for _, l := range links {
		names[l.Attrs().Index] = l.Attrs().Name
	}
	for _, l := range links {
		s.Links = append(s.Links, observed(l, names))
		addresses, err := k.AddrList(l, netlink.FAMILY_ALL)
		if err != nil {
			return s, fmt.Errorf("list addresses of %s: %w", l.Attrs().Name, err)
		}
		for _, a := range addresses {
			if p, ok := prefixOf(a.IPNet); ok && a.Scope == unix.RT_SCOPE_UNIVERSE && a.Flags&unix.IFA_F_PERMANENT != 0 {
				s.Addresses = append(s.Addresses, Address{l.Attrs().Name, p})
			}
		}
	}
	routes, err := k.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Protocol: routeProtocol, Table: unix.RT_TABLE_MAIN},
		netlink.RT_FILTER_PROTOCOL|netlink.RT_FILTER_TABLE)
	if err != nil {
		return s, fmt.Errorf("list routes: %w", err)
	}
	for _, r := range routes {
		gw, _ := netip.AddrFromSlice(r.Gw)
		dst := default4
		if gw = gw.Unmap(); gw.Is6() {
			dst = default6
		}
		if r.Dst != nil {
			if d, ok := prefixOf(r.Dst); ok {
				dst = d
			}
		}
		s.Routes = append(s.Routes, Route{names[r.LinkIndex], dst, gw})
	}
	for _, c := range p.Sysctls {
		if b, err := os.ReadFile("/proc/sys/" + c.Path); err == nil {
			s.Sysctls[c.Path] = strings.TrimSpace(string(b))
		} else if c.Optional && errors.Is(err, fs.ErrNotExist) && !awaits(s, p, c) {
			s.Sysctls[c.Path] = c.Value // there is nothing to set
		}
	}
	return s, nil
}

// awaits reports whether a setting belongs to a link that the plan has yet to
// make: then it appears with the link.
func awaits(s State, p Plan, c Sysctl) bool {
	for _, l := range p.Links {
		if _, there := named(s.Links, l.Name); !there && strings.Contains(c.Path, "/"+l.Name+"/") {
			return true
		}
	}
	return false
}

func observed(l netlink.Link, names map[int]string) Link {
	a := l.Attrs()
	o := Link{Name: a.Name, Kind: KindCard, Alias: a.Alias, Master: names[a.MasterIndex], MTU: a.MTU,
		MAC: a.HardwareAddr.String(), Up: a.Flags&net.FlagUp != 0}
	switch l := l.(type) {
	case *netlink.Bridge:
		o.Kind = KindBridge
	case *netlink.Vlan:
		o.Kind, o.VLAN, o.Parent = KindVLAN, l.VlanId, names[a.ParentIndex]
	}
	return o
}

// do executes one step. To remove what is gone, or to add what is there, is no fault.
func (k kernel) do(s Step) error {
	if err := k.try(s); err != nil {
		return fmt.Errorf("%v: %w", s, err)
	}
	return nil
}

func (k kernel) try(s Step) error {
	switch s.Action {
	case SetSysctl:
		return errors.Join(writeSysctl(s.Sysctl), k.forget(s.Sysctl))
	case AddLink:
		return k.addLink(s.Link)
	case DelRoute, AddRoute:
		return k.route(s)
	case DelAddress, AddAddress:
		return k.address(s)
	}
	l, err := k.LinkByName(s.Link.Name)
	if err != nil {
		if s.Action == DelLink && errors.As(err, new(netlink.LinkNotFoundError)) {
			return nil
		}
		return err
	}
	switch s.Action {
	case DelLink:
		return k.LinkDel(l)
	case Release:
		return errors.Join(k.LinkSetNoMaster(l), k.LinkSetDown(l), k.LinkSetMTU(l, 1500), k.clearAlias(l))
	case SetMaster:
		return k.join(l, s.Link.Master)
	case SetMAC:
		mac, err := net.ParseMAC(s.Link.MAC)
		if err != nil {
			return err
		}
		return k.LinkSetHardwareAddr(l, mac)
	case SetMTU:
		return k.LinkSetMTU(l, s.Link.MTU)
	case SetAlias:
		if s.Link.Alias == "" {
			return k.clearAlias(l)
		}
		return k.LinkSetAlias(l, s.Link.Alias)
	case SetUp:
		return k.LinkSetUp(l)
	}
	return fmt.Errorf("unknown action %q", s.Action)
}

// forget takes off a link what routers have announced, when they are not followed any
// more: else it stays for hours, beside the fixed addresses.
func (k kernel) forget(c Sysctl) error {
	rest, ok := strings.CutPrefix(c.Path, "net/ipv6/conf/")
	name, ok2 := strings.CutSuffix(rest, "/accept_ra")
	if !ok || !ok2 || c.Value != "0" || name == "default" {
		return nil
	}
	l, err := k.LinkByName(name)
	if err != nil {
		return nil // it is yet to come, without anything
	}
	var faults []error
	addresses, err := k.AddrList(l, netlink.FAMILY_V6)
	faults = append(faults, err)
	for _, a := range addresses {
		if a.Scope == unix.RT_SCOPE_UNIVERSE && a.Flags&unix.IFA_F_PERMANENT == 0 {
			faults = append(faults, k.AddrDel(l, &a))
		}
	}
	routes, err := k.RouteListFiltered(netlink.FAMILY_V6, &netlink.Route{Protocol: unix.RTPROT_RA, LinkIndex: l.Attrs().Index},
		netlink.RT_FILTER_PROTOCOL|netlink.RT_FILTER_OIF)
	faults = append(faults, err)
	for _, r := range routes {
		faults = append(faults, k.RouteDel(&r))
	}
	return errors.Join(faults...)
}

// clearAlias takes the mark from a link. The kernel cuts a name at its first zero
// byte and takes an empty one as a removal.
func (k kernel) clearAlias(l netlink.Link) error { return k.LinkSetAlias(l, "") }

func (k kernel) join(l netlink.Link, master string) error {
	if master == "" {
		return k.LinkSetNoMaster(l)
	}
	m, err := k.LinkByName(master)
	if err != nil {
		return err
	}
	return k.LinkSetMaster(l, m)
}

func (k kernel) addLink(want Link) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = want.Name
	if want.Kind == KindBridge {
		return k.LinkAdd(&netlink.Bridge{LinkAttrs: attrs})
	}
	parent, err := k.LinkByName(want.Parent)
	if err != nil {
		return err
	}
	attrs.ParentIndex = parent.Attrs().Index
	return k.LinkAdd(&netlink.Vlan{LinkAttrs: attrs, VlanId: want.VLAN, VlanProtocol: netlink.VLAN_PROTOCOL_8021Q})
}

func (k kernel) address(s Step) error {
	l, err := k.LinkByName(s.Address.Link)
	if err != nil {
		return err
	}
	a := &netlink.Addr{IPNet: netOf(s.Address.Prefix)}
	if s.Action == AddAddress {
		if s.Address.Prefix.Addr().Is6() {
			// No wait for duplicates: a service binds it right away, also when the cable is out.
			a.Flags = unix.IFA_F_NODAD
		}
		return k.AddrReplace(l, a)
	}
	if err := k.AddrDel(l, a); !errors.Is(err, unix.EADDRNOTAVAIL) {
		return err
	}
	return nil
}

func (k kernel) route(s Step) error {
	l, err := k.LinkByName(s.Route.Link)
	if err != nil {
		return err
	}
	r := &netlink.Route{LinkIndex: l.Attrs().Index, Dst: netOf(s.Route.Dst), Gw: s.Route.Gateway.AsSlice(), Protocol: routeProtocol}
	if s.Action == AddRoute {
		return k.RouteReplace(r)
	}
	if err := k.RouteDel(r); !errors.Is(err, unix.ESRCH) {
		return err
	}
	return nil
}

func writeSysctl(c Sysctl) error {
	err := os.WriteFile("/proc/sys/"+c.Path, []byte(c.Value), 0)
	if c.Optional && errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func netOf(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

func prefixOf(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	a, ok := netip.AddrFromSlice(n.IP)
	bits, _ := n.Mask.Size()
	return netip.PrefixFrom(a.Unmap(), bits), ok
}
