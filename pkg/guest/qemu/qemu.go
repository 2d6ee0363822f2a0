package qemu

import (
	"encoding/json"
	"fmt"
	"strconv"
)

// reconnectDelay is how long QEMU holds requests while its NBD server is away,
// seconds. The block side holds an undecided request at most 15 s, so an answer
// of its own always comes first; past the delay the guest is stopped, with its
// clock, and keeps its requests.
const reconnectDelay = 20

// Args is the argument vector of a VM, without the program.
func Args(s Spec) ([]string, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	args := []string{
		"-nodefaults", "-no-user-config", "-nic", "none", "-display", "none",
		"-name", "guest=" + s.Name + ",debug-threads=on",
		"-uuid", s.UUID,
		"-machine", machine(s),
		"-cpu", map[Accel]string{KVM: "host", TCG: "max"}[s.Accel],
		"-smp", strconv.Itoa(s.CPUs),
		"-m", strconv.Itoa(s.MemoryMB) + "M",
		"-rtc", "base=utc",
		// A guest that breaks out finds no way to start a program or to gain rights.
		"-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
		"-msg", "timestamp=on",
		// Sockets belong to QEMU: a supervisor that dies takes nothing with it.
		"-chardev", "socket,id=qmp,path=" + s.QMPSocket + ",server=on,wait=off",
		"-mon", "chardev=qmp,mode=control",
		"-chardev", "socket,id=serial,path=" + s.SerialSocket + ",server=on,wait=off,logfile=" + s.SerialLog + ",logappend=on",
		"-serial", "chardev:serial",
	}
	if s.Display {
		args = append(args, "-vga", "std")
	} else {
		args = append(args, "-vga", "none")
	}
	if s.Firmware == UEFI {
		args = append(args,
			"-blockdev", blockdev(file{Driver: "file", Node: "uefi-code", Name: s.UEFICode, ReadOnly: true}),
			"-blockdev", blockdev(file{Driver: "file", Node: "uefi-vars", Name: s.UEFIVars}))
	}
	for i, d := range s.Disks {
		args = append(args, "-blockdev", blockdev(nbdNode(i, d)), "-device", diskDevice(i, d))
	}
	args = append(args, "-object", "rng-random,id=rng,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=rng")
	for i, c := range s.Cards { // last, so that no other device changes its place with their number
		args = append(args, "-netdev", tap(i, c), "-device", cardDevice(i, c, len(s.Disks)))
	}
	if s.Paused {
		args = append(args, "-S")
	}
	return args, nil
}

func machine(s Spec) string {
	m := "q35,accel=" + string(s.Accel) + ",vmport=off"
	if !s.Display {
		m += ",graphics=off" // SeaBIOS then speaks on the serial line
	}
	if s.Firmware == UEFI {
		m += ",pflash0=uefi-code,pflash1=uefi-vars"
	}
	return m
}

// file and nbd are block nodes as QEMU's JSON syntax has them, in which no name
// needs escaping.
type file struct {
	Driver   string `json:"driver"`
	Node     string `json:"node-name"`
	Name     string `json:"filename"`
	ReadOnly bool   `json:"read-only"`
}

type nbd struct {
	Driver         string `json:"driver"`
	Node           string `json:"node-name"`
	Server         server `json:"server"`
	Export         string `json:"export"`
	ReconnectDelay int    `json:"reconnect-delay"`
	OpenTimeout    int    `json:"open-timeout"`
	Cache          cache  `json:"cache"`
	Discard        string `json:"discard"`
	DetectZeroes   string `json:"detect-zeroes"`
	ReadOnly       bool   `json:"read-only"`
	AutoReadOnly   bool   `json:"auto-read-only"`
}

type server struct {
	Type string `json:"type"`
	Path string `json:"path"`
}

type cache struct {
	Direct  bool `json:"direct"`
	NoFlush bool `json:"no-flush"`
}

func nbdNode(i int, d Disk) nbd {
	zeroes := "unmap"
	if d.ReadOnly {
		zeroes = "off"
	}
	return nbd{
		Driver: "nbd", Node: NodeName(i), Server: server{"unix", d.Socket}, Export: d.Export,
		ReconnectDelay: reconnectDelay, OpenTimeout: reconnectDelay,
		Cache: cache{Direct: true}, Discard: "unmap", DetectZeroes: zeroes, ReadOnly: d.ReadOnly,
	}
}

// NodeName is the name by which QEMU speaks of disk i in events and answers.
func NodeName(i int) string { return "disk" + strconv.Itoa(i) }

func blockdev(node any) string {
	b, err := json.Marshal(node)
	if err != nil {
		panic(fmt.Sprintf("qemu: a struct of strings and numbers has no JSON: %v", err))
	}
	return string(b)
}

func diskDevice(i int, d Disk) string {
	name := NodeName(i)
	dev := "virtio-blk-pci,id=" + name + "-device,drive=" + name + ",rerror=stop,werror=stop"
	if d.Serial != "" {
		dev += ",serial=" + d.Serial
	}
	if d.BootIndex >= 0 {
		dev += ",bootindex=" + strconv.Itoa(d.BootIndex)
	}
	return dev
}

// tap is the host's end of a card. QEMU runs no script and asks the kernel for no help
// that would need another device.
func tap(i int, c Card) string {
	return "tap,id=" + cardName(i) + ",ifname=" + c.Link + ",script=no,downscript=no,vhost=off"
}

// cardDevice is the guest's end. It is booted from after all disks.
func cardDevice(i int, c Card, disks int) string {
	name := cardName(i)
	return "virtio-net-pci,id=" + name + "-device,netdev=" + name + ",mac=" + c.MAC + ",bootindex=" + strconv.Itoa(disks+i)
}

func cardName(i int) string { return "net" + strconv.Itoa(i) }
