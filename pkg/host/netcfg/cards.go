package netcfg

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

var pciAddress = regexp.MustCompile(`^[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]$`)

// Cards lists the machine's ethernet cards in the order of their slots. Virtual
// ones (bridges, taps, tunnels) are left out, unless virtual is set: then those
// that behave like a card with a cable (veth) are listed too.
func Cards(virtual bool) ([]Card, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("list cards: %w", err)
	}
	defer h.Close()
	links, err := h.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list cards: %w", err)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("list cards: socket: %w", err)
	}
	defer unix.Close(fd)
	var cards []Card
	for _, l := range links {
		a := l.Attrs()
		if a.EncapType != "ether" || len(a.HardwareAddr) != 6 {
			continue
		}
		c := Card{Name: a.Name, MAC: a.HardwareAddr, MTU: a.MTU, Carrier: a.RawFlags&unix.IFF_LOWER_UP != 0}
		if len(a.PermHWAddr) == 6 {
			c.MAC = a.PermHWAddr
		}
		c.Driver, c.PCI = driver(fd, a.Name)
		if !real(l, c) && (!virtual || l.Type() != "veth") {
			continue
		}
		if c.Carrier {
			c.Speed = speed(a.Name)
		}
		cards = append(cards, c)
	}
	return InOrder(cards), nil
}

// real reports whether a link is a device on a bus, not one that software made.
func real(l netlink.Link, c Card) bool {
	return l.Type() == "device" && (c.PCI != "" || l.Attrs().ParentDev != "")
}

func driver(fd int, name string) (driver, pci string) {
	info, err := unix.IoctlGetEthtoolDrvinfo(fd, name)
	if err != nil {
		return "", "" // some drivers say nothing of themselves
	}
	driver = unix.ByteSliceToString(info.Driver[:])
	if bus := unix.ByteSliceToString(info.Bus_info[:]); pciAddress.MatchString(bus) {
		pci = bus
	}
	return driver, pci
}

// speed reads Mbit/s; 0 where the card does not know.
func speed(name string) int {
	b, err := os.ReadFile(filepath.Join("/sys/class/net", name, "speed"))
	if err != nil {
		return 0
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || n < 0 {
		return 0
	}
	return n
}
