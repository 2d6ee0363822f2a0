package qemu

import (
	"errors"
	"fmt"
	"strings"

	"beffroi.dev/pkg/ident"
)

// Accel is how a guest's processor is run.
type Accel string

// The accelerators.
const (
	KVM Accel = "kvm"
	TCG Accel = "tcg" // software emulation
)

// Firmware is what a guest boots with.
type Firmware string

// The firmwares.
const (
	BIOS Firmware = "bios"
	UEFI Firmware = "uefi"
)

// Limits of a specification.
const (
	MaxCPUs     = 64
	MinMemoryMB = 16
	MaxMemoryMB = 1 << 20
	MaxDisks    = 16
	MaxSerial   = 20 // bytes: what virtio-blk carries
	MaxCards    = 4
	maxLink     = 15  // bytes of a network link's name
	maxSocket   = 107 // bytes of a unix socket path
)

// Disk is one disk of a VM: an export of an NBD server.
type Disk struct {
	Socket    string `json:"socket"` // unix socket path
	Export    string `json:"export"`
	Serial    string `json:"serial,omitempty"` // at most 20 letters, digits, dashes
	BootIndex int    `json:"boot_index"`       // from 0, lower first; negative: not booted from
	ReadOnly  bool   `json:"read_only,omitempty"`
}

// Card is a network card of a VM: a tap that is there already and belongs to the user
// that QEMU runs as, so that it needs no right to open it.
type Card struct {
	Link string `json:"link"` // the tap's
	MAC  string `json:"mac"`  // of the guest's end
}

// Spec is everything QEMU needs to know of a VM.
type Spec struct {
	Name     string   `json:"name"`
	UUID     string   `json:"uuid"` // 8-4-4-4-12 hexadecimal digits
	CPUs     int      `json:"cpus"`
	MemoryMB int      `json:"memory_mb"`
	Disks    []Disk   `json:"disks"`
	Cards    []Card   `json:"cards,omitempty"`
	Firmware Firmware `json:"firmware"`
	UEFICode string   `json:"uefi_code,omitempty"` // read-only firmware file
	UEFIVars string   `json:"uefi_vars,omitempty"` // this VM's own copy of the variables
	Display  bool     `json:"display,omitempty"`   // a VGA card, for guests that refuse to be without
	Accel    Accel    `json:"accel"`
	Paused   bool     `json:"paused,omitempty"` // do not run until told

	SerialSocket string `json:"serial_socket"`
	SerialLog    string `json:"serial_log"`
	QMPSocket    string `json:"qmp_socket"`
}

// ErrSpec is wrapped by every refusal of Validate.
var ErrSpec = errors.New("VM specification not allowed")

// Validate reports every fault, each with what is allowed.
func (s Spec) Validate() error {
	var errs []error
	add := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if err := ident.CheckName(s.Name); err != nil {
		errs = append(errs, err)
	}
	if !isUUID(s.UUID) {
		add("uuid %.60q: use 8-4-4-4-12 lower-case hexadecimal digits", s.UUID)
	}
	if s.CPUs < 1 || s.CPUs > MaxCPUs {
		add("cpus %d: use 1 to %d", s.CPUs, MaxCPUs)
	}
	if s.MemoryMB < MinMemoryMB || s.MemoryMB > MaxMemoryMB {
		add("memory %d MB: use %d to %d", s.MemoryMB, MinMemoryMB, MaxMemoryMB)
	}
	if s.Accel != KVM && s.Accel != TCG {
		add("accelerator %.20q: use %s or %s", s.Accel, KVM, TCG)
	}
	switch s.Firmware {
	case BIOS:
	case UEFI:
		errs = append(errs, checkPath("uefi_code", s.UEFICode, 4096), checkPath("uefi_vars", s.UEFIVars, 4096))
	default:
		add("firmware %.20q: use %s or %s", s.Firmware, BIOS, UEFI)
	}
	errs = append(errs, checkPath("serial_socket", s.SerialSocket, maxSocket), checkPath("serial_log", s.SerialLog, 4096),
		checkPath("qmp_socket", s.QMPSocket, maxSocket), s.validateDisks(), s.validateCards())
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("%w: %w", ErrSpec, err)
	}
	return nil
}

func (s Spec) validateDisks() error {
	var errs []error
	if len(s.Disks) > MaxDisks {
		errs = append(errs, fmt.Errorf("%d disks: at most %d are allowed", len(s.Disks), MaxDisks))
	}
	boot := map[int]int{}
	for i, d := range s.Disks {
		errs = append(errs, checkPath(fmt.Sprintf("disk %d: socket", i), d.Socket, maxSocket))
		if d.Export == "" || len(d.Export) > 4096 || hasControl(d.Export) {
			errs = append(errs, fmt.Errorf("disk %d: export %.60q: use 1 to 4096 printable bytes", i, d.Export))
		}
		if !isSerial(d.Serial) {
			errs = append(errs, fmt.Errorf("disk %d: serial %.60q: use at most %d letters, digits and dashes", i, d.Serial, MaxSerial))
		}
		if d.BootIndex < 0 {
			continue
		}
		if first, taken := boot[d.BootIndex]; taken {
			errs = append(errs, fmt.Errorf("disks %d and %d: both have boot index %d, use different ones", first, i, d.BootIndex))
		}
		boot[d.BootIndex] = i
	}
	return errors.Join(errs...)
}

func (s Spec) validateCards() error {
	var errs []error
	if len(s.Cards) > MaxCards {
		errs = append(errs, fmt.Errorf("%d network cards: at most %d are allowed", len(s.Cards), MaxCards))
	}
	for i, c := range s.Cards {
		if c.Link == "" || len(c.Link) > maxLink || strings.Trim(c.Link, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			errs = append(errs, fmt.Errorf("card %d: link %.20q: use 1 to %d lower-case letters, digits and dashes", i, c.Link, maxLink))
		}
		if !isMAC(c.MAC) {
			errs = append(errs, fmt.Errorf("card %d: address %.20q: use that of one card, as six pairs of lower-case hexadecimal digits", i, c.MAC))
		}
		for j, other := range s.Cards[:i] {
			if other.Link == c.Link || other.MAC == c.MAC {
				errs = append(errs, fmt.Errorf("cards %d and %d: both have link %.20q or address %.20q", j, i, c.Link, c.MAC))
			}
		}
	}
	return errors.Join(errs...)
}

// isMAC allows the address of one card: not of a group, not zero.
func isMAC(s string) bool {
	parts := strings.Split(s, ":")
	for _, p := range parts {
		if len(p) != 2 || strings.Trim(p, "0123456789abcdef") != "" {
			return false
		}
	}
	return len(parts) == 6 && strings.Contains("02468ace", parts[0][1:]) && s != "00:00:00:00:00:00"
}

// checkPath allows absolute paths that survive QEMU's option syntax.
func checkPath(what, path string, limit int) error {
	if !strings.HasPrefix(path, "/") || len(path) > limit || hasControl(path) || strings.Contains(path, ",") {
		return fmt.Errorf("%s %.120q: use an absolute path of at most %d bytes, without commas and control characters", what, path, limit)
	}
	return nil
}

func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r == 0x7f })
}

func isUUID(s string) bool {
	for i, part := range strings.Split(s, "-") {
		if i >= 5 || len(part) != [...]int{8, 4, 4, 4, 12}[i] || strings.Trim(part, "0123456789abcdef") != "" {
			return false
		}
	}
	return len(s) == 36
}

func isSerial(s string) bool {
	for _, c := range []byte(s) {
		if !(c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '-') {
			return false
		}
	}
	return len(s) <= MaxSerial
}
