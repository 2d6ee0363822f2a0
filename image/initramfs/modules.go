package initramfs

import (
	"bytes"
	"debug/elf"
	"fmt"
	"path"
	"slices"
	"sort"
	"strings"

	"github.com/klauspost/compress/zstd"

	"beffroi.dev/image/packages"
)

// Wanted are the modules of an image; what they need is added. A name that is
// built into the kernel is no error.
var Wanted = strings.Fields(`
	virtio_pci virtio_blk virtio_net virtio_scsi virtio_console virtio_rng virtio_balloon
	ahci ata_piix sd_mod sr_mod nvme megaraid_sas mpt3sas
	e1000e e1000 igb ixgbe i40e ice bnxt_en bnx2x tg3 mlx5_core r8169
	i6300esb iTCO_wdt lpc_ich i2c_i801 softdog sp5100_tco wdat_wdt ipmi_watchdog ipmi_si hpwdt
	ext4 vfat nls_cp437 nls_ascii nls_iso8859-1 nls_utf8 squashfs loop overlay crc32c_generic
	bridge tun tap macvlan macvtap 8021q veth bonding
	nf_tables nf_conntrack nft_ct nft_reject nft_reject_inet nft_reject_bridge nft_log nft_limit nft_counter
	nft_meta_bridge nft_masq nft_nat nft_chain_nat nft_fib nft_fib_inet nf_log_syslog nft_objref nft_hash nft_connlimit
	kvm kvm-intel kvm-amd vhost_net vhost_vsock nbd
	efivarfs efi_pstore ramoops pstore_blk
	evdev xhci_pci ehci_pci uhci_hcd ohci_pci usbhid hid-generic usb_storage uas atkbd i8042 psmouse
	bochs virtio-gpu simpledrm ast mgag200
	af_packet unix ipv6 autofs4 coretemp acpi_power_meter button fan`)

// optional are wanted names that not every kernel knows.
var optional = map[string]bool{}

func init() {
	for _, n := range strings.Fields(`nft_counter wdat_wdt nft_reject_bridge af_packet unix ipv6 simpledrm i8042
		efi_pstore ramoops pstore_blk nls_utf8 nft_meta_bridge button fan virtio_balloon atkbd nft_hash`) {
		optional[plain(n)] = true
	}
}

// Skip tells which folders of a kernel's modules need not be read at all.
func Skip(p string) bool {
	for _, s := range []string{"/sound/", "/drivers/media/", "/drivers/staging/", "/drivers/net/wireless/", "/drivers/infiniband/",
		"/drivers/gpu/drm/amd/", "/drivers/gpu/drm/i915/", "/drivers/gpu/drm/nouveau/", "/drivers/gpu/drm/radeon/", "/drivers/iio/"} {
		if strings.Contains(p, s) {
			return true
		}
	}
	return false
}

// module is what a module says about itself.
type module struct {
	path              string
	needs, soft, firm []string
	aliases           []string
	data              []byte
}

// Modules are the chosen modules of a kernel.
type Modules struct {
	Release  string
	Entries  []Entry
	Firmware []string // files that the modules may ask for
}

// plain is a module's name as the kernel writes it.
func plain(name string) string { return strings.ReplaceAll(name, "-", "_") }

// ChooseModules takes the wanted modules and what they need from a kernel package.
func ChooseModules(t packages.Tree, wanted []string) (Modules, error) {
	known, builtin, release, err := index(t)
	if err != nil {
		return Modules{}, err
	}
	chosen := map[string]bool{}
	var add func(name, by string) error
	add = func(name, by string) error {
		name = plain(name)
		m, ok := known[name]
		switch {
		case chosen[name] || builtin[name]:
			return nil
		case !ok && by == "" && optional[name]:
			return nil
		case !ok:
			return fmt.Errorf("initramfs: module %s (for %q) is not in the kernel package", name, by)
		}
		chosen[name] = true
		for _, n := range m.needs {
			if err := add(n, name); err != nil {
				return err
			}
		}
		return nil
	}
	for _, w := range wanted {
		if err := add(w, ""); err != nil {
			return Modules{}, err
		}
	}
	return collect(release, known, chosen)
}

// index reads what all modules of a tree say about themselves.
func index(t packages.Tree) (known map[string]module, builtin map[string]bool, release string, err error) {
	known, builtin = map[string]module{}, map[string]bool{}
	for _, p := range t.Below("usr/lib/modules") {
		rest := strings.TrimPrefix(p, "usr/lib/modules/")
		rel, below, _ := strings.Cut(rest, "/")
		release = rel
		if below == "modules.builtin" {
			for line := range strings.Lines(string(t[p].Data)) {
				builtin[plain(strings.TrimSuffix(path.Base(strings.TrimSpace(line)), ".ko"))] = true
			}
		}
		if path.Ext(p) != ".ko" {
			continue
		}
		m, err := readModule(t[p].Data)
		if err != nil {
			return nil, nil, "", fmt.Errorf("initramfs: %s: %w", p, err)
		}
		m.path = below
		known[plain(strings.TrimSuffix(path.Base(p), ".ko"))] = m
	}
	if len(known) == 0 {
		return nil, nil, "", fmt.Errorf("initramfs: the kernel package holds no modules")
	}
	for name, m := range known {
		for _, s := range m.soft {
			m.needs = append(m.needs, provide(s, known)...)
		}
		known[name] = m
	}
	return known, builtin, release, nil
}

// provide finds the module behind a soft dependency: a module of that name, or the
// portable one among those that offer it. Nothing calls modprobe here, so that what
// a module would ask for later has to be there before.
func provide(name string, known map[string]module) []string {
	if _, ok := known[plain(name)]; ok {
		return []string{plain(name)}
	}
	generic := plain(name) + "_generic"
	if m, ok := known[generic]; ok && slices.Contains(m.aliases, name) {
		return []string{generic}
	}
	return nil
}

// readModule reads the section with a module's own words: KEY=VALUE, each ended by
// a zero.
func readModule(data []byte) (module, error) {
	m := module{data: data}
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return m, err
	}
	s := f.Section(".modinfo")
	if s == nil {
		return m, fmt.Errorf("no .modinfo")
	}
	info, err := s.Data()
	if err != nil {
		return m, err
	}
	for word := range bytes.SplitSeq(info, []byte{0}) {
		key, value, _ := strings.Cut(string(word), "=")
		switch key {
		case "depends":
			for n := range strings.SplitSeq(value, ",") {
				if n != "" {
					m.needs = append(m.needs, plain(n))
				}
			}
		case "softdep":
			if pre, ok := strings.CutPrefix(value, "pre:"); ok {
				pre, _, _ = strings.Cut(pre, "post:")
				m.soft = append(m.soft, strings.Fields(pre)...)
			}
		case "alias":
			m.aliases = append(m.aliases, value)
		case "firmware":
			m.firm = append(m.firm, value)
		}
	}
	return m, nil
}

// collect makes the entries and the two lists of the chosen modules.
//
// Each module is compressed for itself: they lie in memory for as long as the machine
// runs, and are read once.
func collect(release string, known map[string]module, chosen map[string]bool) (Modules, error) {
	out := Modules{Release: release}
	z, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return out, fmt.Errorf("initramfs: %w", err)
	}
	var list, alias strings.Builder
	names := make([]string, 0, len(chosen))
	for n := range chosen {
		names = append(names, n)
	}
	sort.Strings(names)
	root := "modules/" + release + "/"
	for _, n := range names {
		m := known[n]
		file := m.path + ".zst"
		out.Entries = append(out.Entries, File(root+file, z.EncodeAll(m.data, nil)))
		out.Firmware = append(out.Firmware, m.firm...)
		var needs []string
		for _, d := range m.needs {
			if chosen[d] && !slices.Contains(needs, d) {
				needs = append(needs, d)
			}
		}
		sort.Strings(needs)
		fmt.Fprintln(&list, strings.TrimSpace(n+" "+file+" "+strings.Join(needs, ",")))
		for _, a := range m.aliases {
			if !strings.ContainsAny(a, " \t") {
				fmt.Fprintf(&alias, "alias %s %s\n", a, n)
			}
		}
	}
	out.Entries = append(out.Entries, File(root+"modules.list", []byte(list.String())), File(root+"modules.alias", []byte(alias.String())))
	sort.Strings(out.Firmware)
	out.Firmware = slices.Compact(out.Firmware)
	return out, nil
}

// Microcode is the archive that the kernel reads before all others; it has to lie
// first and not be compressed. It is empty when the packages hold none.
func Microcode(t packages.Tree) ([]byte, error) {
	var entries []Entry
	for _, v := range []struct{ folder, file string }{
		{"usr/lib/firmware/amd-ucode", "AuthenticAMD.bin"}, {"usr/lib/firmware/intel-ucode", "GenuineIntel.bin"}} {
		var all []byte
		for _, p := range t.Below(v.folder) {
			if base := path.Base(p); !strings.Contains(base, "asc") && base != "README" && t[p].Link == "" {
				all = append(all, t[p].Data...)
			}
		}
		if len(all) > 0 {
			entries = append(entries, File("kernel/x86/microcode/"+v.file, all))
		}
	}
	if len(entries) == 0 {
		return nil, nil
	}
	return Pack(entries)
}
