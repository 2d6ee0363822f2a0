package qemu_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"beffroi.dev/pkg/guest/qemu"

	"github.com/google/go-cmp/cmp"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the golden files")

func spec() qemu.Spec {
	return qemu.Spec{
		Name: "mail", UUID: "0b5e1f6e-7a3c-4d1e-9a77-0123456789ab", CPUs: 2, MemoryMB: 1024, Firmware: qemu.BIOS, Accel: qemu.KVM,
		Disks:        []qemu.Disk{{Socket: "/run/nbd.sock", Export: "mail-0", Serial: "mail-0", BootIndex: 0}},
		SerialSocket: "/run/mail/serial.sock", SerialLog: "/run/mail/serial.log", QMPSocket: "/run/mail/qmp.sock",
	}
}

func TestArgumentsAreThoseOfTheGoldenFile(t *testing.T) {
	tests := []struct {
		name string
		edit func(*qemu.Spec)
	}{
		{"bios-kvm", func(*qemu.Spec) {}},
		{"uefi-tcg-two-disks-paused", func(s *qemu.Spec) {
			s.Firmware, s.UEFICode, s.UEFIVars = qemu.UEFI, "/usr/share/OVMF/OVMF_CODE_4M.fd", "/run/mail/vars.fd"
			s.Accel, s.Paused, s.Display = qemu.TCG, true, true
			s.Disks = append(s.Disks, qemu.Disk{Socket: "/run/nbd.sock", Export: `odd, "name"`, BootIndex: -1, ReadOnly: true})
		}},
		{"no-disk", func(s *qemu.Spec) { s.Disks = nil }},
		{"two-cards", func(s *qemu.Spec) {
			s.Cards = []qemu.Card{{Link: "t0a1b2c3d-0", MAC: "52:30:09:b3:6f:5c"}, {Link: "t0a1b2c3d-1", MAC: "52:30:09:b3:6f:5d"}}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := spec()
			tt.edit(&s)
			args, err := qemu.Args(s)
			if err != nil {
				t.Fatal(err)
			}
			got := strings.Join(args, "\n") + "\n"
			golden := filepath.Join("testdata", tt.name+".args")
			if *rewrite {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("arguments (-want +got):\n%s", diff)
			}
		})
	}
}

func TestASpecificationSaysWhatIsAllowed(t *testing.T) {
	tests := []struct {
		name string
		edit func(*qemu.Spec)
		want string
	}{
		{"an empty name", func(s *qemu.Spec) { s.Name = "" }, "lower-case letters"},
		{"an option hidden in the name", func(s *qemu.Spec) { s.Name = "a,process=evil" }, "lower-case letters"},
		{"a short uuid", func(s *qemu.Spec) { s.UUID = "12" }, "8-4-4-4-12"},
		{"a uuid with a sixth part", func(s *qemu.Spec) { s.UUID = "0b5e1f6e-7a3c-4d1e-9a77-0123456-9ab-" }, "8-4-4-4-12"},
		{"no processor", func(s *qemu.Spec) { s.CPUs = 0 }, "1 to 64"},
		{"too little memory", func(s *qemu.Spec) { s.MemoryMB = 1 }, "16 to"},
		{"an unknown accelerator", func(s *qemu.Spec) { s.Accel = "xen" }, "kvm or tcg"},
		{"an unknown firmware", func(s *qemu.Spec) { s.Firmware = "coreboot" }, "bios or uefi"},
		{"uefi without its files", func(s *qemu.Spec) { s.Firmware = qemu.UEFI }, "uefi_code"},
		{"a relative socket", func(s *qemu.Spec) { s.QMPSocket = "qmp" }, "absolute path"},
		{"a socket path that is too long", func(s *qemu.Spec) { s.QMPSocket = "/" + strings.Repeat("x", 107) }, "at most 107"},
		{"an option hidden in a path", func(s *qemu.Spec) { s.SerialLog = "/a,logfile=/etc/x" }, "without commas"},
		{"a newline in an export", func(s *qemu.Spec) { s.Disks[0].Export = "a\nb" }, "printable"},
		{"a long disk serial", func(s *qemu.Spec) { s.Disks[0].Serial = strings.Repeat("x", 21) }, "at most 20"},
		{"an option hidden in a disk serial", func(s *qemu.Spec) { s.Disks[0].Serial = "a,werror=report" }, "letters, digits and dashes"},
		{"two disks with one boot index", func(s *qemu.Spec) { s.Disks = append(s.Disks, s.Disks[0]) }, "both have boot index 0"},
		{"an option hidden in a link", func(s *qemu.Spec) { s.Cards = []qemu.Card{{Link: "t,script=/x", MAC: "52:30:09:b3:6f:5c"}} }, "lower-case letters, digits and dashes"},
		{"a link that is too long", func(s *qemu.Spec) {
			s.Cards = []qemu.Card{{Link: strings.Repeat("t", 16), MAC: "52:30:09:b3:6f:5c"}}
		}, "use 1 to 15"},
		{"an option hidden in a card's address", func(s *qemu.Spec) {
			s.Cards = []qemu.Card{{Link: "t0", MAC: "52:30:09:b3:6f:5c,romfile=/x"}}
		}, "six pairs"},
		{"the address of a group of cards", func(s *qemu.Spec) { s.Cards = []qemu.Card{{Link: "t0", MAC: "53:30:09:b3:6f:5c"}} }, "of one card"},
		{"two cards on one tap", func(s *qemu.Spec) {
			s.Cards = []qemu.Card{{Link: "t0", MAC: "52:30:09:b3:6f:5c"}, {Link: "t0", MAC: "52:30:09:b3:6f:5d"}}
		}, "both have link"},
		{"two cards with one address", func(s *qemu.Spec) {
			s.Cards = []qemu.Card{{Link: "t0", MAC: "52:30:09:b3:6f:5c"}, {Link: "t1", MAC: "52:30:09:b3:6f:5c"}}
		}, "both have link"},
		{"five cards", func(s *qemu.Spec) {
			for i := range 5 {
				s.Cards = append(s.Cards, qemu.Card{Link: fmt.Sprintf("t%d", i), MAC: fmt.Sprintf("52:30:09:b3:6f:5%d", i)})
			}
		}, "at most 4"},
		{"seventeen disks", func(s *qemu.Spec) { s.Disks = make([]qemu.Disk, 17) }, "at most 16"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := spec()
			tt.edit(&s)
			_, err := qemu.Args(s)
			if !errors.Is(err, qemu.ErrSpec) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Args = %v; want ErrSpec with %q", err, tt.want)
			}
		})
	}
}
