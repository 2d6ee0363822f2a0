// Package board describes servers: what a node needs to know of the machine that
// it runs on, and cannot ask the kernel.
//
// A Board is data. One package per board holds one value; catalog chooses by what
// the firmware says of itself (SMBIOS). Nothing here does anything.
package board

import (
	"errors"
	"fmt"
	"strings"
)

// SMBIOS is what the firmware says of the machine: /sys/class/dmi/id.
type SMBIOS struct {
	Vendor  string // sys_vendor
	Product string // product_name
}

// Board is one kind of server.
type Board struct {
	Name string
	// Vendor and Product must be how the firmware's strings begin; both empty
	// match any machine.
	Vendor, Product string
	Consoles        []string // terminals, serial line first
	// Watchdog are modules to load in turn, until there is a watchdog: drivers, and what
	// they cannot do without.
	Watchdog []string
	Modules  []string // to load before devices are looked at
	// Ports are the roles of the network cards, in the order of their addresses on the
	// PCI bus, when nobody says otherwise; cards beyond have none.
	Ports []string
}

// Matches reports whether the board is the one that the firmware describes.
func (b Board) Matches(s SMBIOS) bool {
	return strings.HasPrefix(s.Vendor, b.Vendor) && strings.HasPrefix(s.Product, b.Product)
}

// Validate reports all faults.
func (b Board) Validate() error {
	var errs []error
	if b.Name == "" {
		errs = append(errs, errors.New("no name"))
	}
	for what, list := range map[string][]string{"consoles": b.Consoles, "watchdog": b.Watchdog, "modules": b.Modules, "ports": b.Ports} {
		if len(list) == 0 {
			errs = append(errs, fmt.Errorf("board %s: no %s", b.Name, what))
		}
	}
	return errors.Join(errs...)
}

// Softdog is the kernel's own watchdog, a timer of its software: the last resort.
const Softdog = "softdog"

// Ports is the rule of a board that has no order of its own.
func Ports() []string { return []string{"lan", "fibre1", "fibre2"} }

// Common are the modules that every board needs before its devices are looked at,
// because no device asks for them.
func Common() []string {
	return []string{
		"ext4", "squashfs", "loop", // our file systems
		"bridge", "macvlan", "tun", "8021q", "nf_tables", "nft_ct", "nft_objref", "nft_reject_inet", "nf_conntrack", // our network
		"vhost_net", "efivarfs", "efi_pstore", "evdev", "button",
		"sd_mod", "usbhid", "hid_generic", "usb_storage", // what the kernel asks for by other means than aliases
	}
}
