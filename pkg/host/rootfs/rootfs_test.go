package rootfs

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// modules opens lists and records what would be given to the kernel.
func modules(t *testing.T, list, aliases string) (*Modules, *[]string) {
	t.Helper()
	m, err := OpenModules(folder(t, map[string]string{"modules.list": list, "modules.alias": aliases}))
	if err != nil {
		t.Fatal(err)
	}
	var given []string
	m.load = func(path, _ string) error {
		given = append(given, filepath.Base(path))
		if filepath.Base(path) == "builtin.ko" {
			return unix.EEXIST
		}
		return nil
	}
	return m, &given
}

func TestAModuleIsLoadedAfterWhatItNeedsAndOnce(t *testing.T) {
	m, given := modules(t, "a a.ko\nb-x b-x.ko a\nc c.ko b_x,a,builtin\nbuiltin builtin.ko\n", "")
	for range 2 {
		if err := m.Load("c"); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{"a.ko", "b-x.ko", "builtin.ko", "c.ko"}; !slices.Equal(*given, want) {
		t.Errorf("loaded %v; want %v", *given, want)
	}
	if err := m.Load("nothing"); !errors.Is(err, ErrNoModule) {
		t.Errorf("Load = %v; want ErrNoModule", err)
	}
}

// A list that cannot be read leaves one that knows nothing, and whoever asks it gets an
// error and not the end of the machine.
func TestModulesOfNoListAreMissing(t *testing.T) {
	var m Modules
	if err := m.Load("ext4"); !errors.Is(err, ErrNoModule) {
		t.Errorf("Load: %v", err)
	}
	if err := m.Request("pci:v00008086d00001237"); !errors.Is(err, ErrNoModule) {
		t.Errorf("Request: %v", err)
	}
	dir := folder(t, map[string]string{"modalias": "pci:v00008086d00001237"})
	if faults := m.Coldplug(dir); len(faults) > 0 {
		t.Errorf("Coldplug: %v", faults)
	}
}

// Who looks for devices and who mounts a disk ask at once: each module is loaded once.
func TestTwoMayAskForModulesAtOnce(t *testing.T) {
	m, given := modules(t, "a a.ko\nb b.ko a\nc c.ko b,a\nd d.ko c\n", "")
	var both sync.WaitGroup
	for range 8 {
		both.Go(func() {
			for name := range m.known {
				if err := m.Load(name); err != nil {
					t.Error(err)
				}
			}
		})
	}
	both.Wait()
	slices.Sort(*given)
	if once := slices.Compact(slices.Clone(*given)); len(once) != len(*given) {
		t.Errorf("loaded more than once: %v", *given)
	}
}

func TestACircleOfNeedsIsAnError(t *testing.T) {
	m, _ := modules(t, "a a.ko b\nb b.ko a\n", "")
	if err := m.Load("a"); err == nil {
		t.Error("it was loaded")
	}
}

func TestDevicesFindTheirModules(t *testing.T) {
	m, given := modules(t, "e1000e e1000e.ko\nnvme nvme.ko nvme-core\nnvme-core nvme-core.ko\nlid lid.ko\n",
		"# aliases\nalias pci:v00008086d000010D3sv*sd*bc*sc*i* e1000e\nalias pci:v*d*sv*sd*bc01sc08i02* nvme\nalias acpi*:PNP0C0D:* lid\n")
	devices := folder(t, map[string]string{
		"pci0/0000:00:02.0/modalias": "pci:v00008086d000010D3sv00008086sd00000000bc02sc00i00\n",
		"pci0/0000:00:03.0/modalias": "pci:v00001B36d00000010sv00001AF4sd00001100bc01sc08i02\n",
		"LNXSYSTM:00/lid/modalias":   "acpi:PNP0C0D:\n",
		"pci0/0000:00:04.0/modalias": "pci:v0000FFFFd00000010sv00001AF4sd00001100bc09sc00i00\n",
	})
	if faults := m.Coldplug(devices); len(faults) > 0 {
		t.Error(faults)
	}
	slices.Sort(*given)
	if want := []string{"e1000e.ko", "lid.ko", "nvme-core.ko", "nvme.ko"}; !slices.Equal(*given, want) {
		t.Errorf("loaded %v; want %v", *given, want)
	}
}

func TestTheKernelAsksByNameOrAlias(t *testing.T) {
	m, given := modules(t, "nft_objref nft_objref.ko nf_tables\nnf_tables nf_tables.ko\nmacvtap macvtap.ko\n",
		"alias nft-expr-objref nft_objref\nalias rtnl-link-macvtap macvtap\nalias of:N*T*Cfoo,[a-c]-bar macvtap\n")
	for _, name := range []string{"nft-expr-objref", "rtnl_link_macvtap"} {
		if err := m.Request(name); err != nil {
			t.Error(err)
		}
	}
	if want := []string{"nf_tables.ko", "nft_objref.ko", "macvtap.ko"}; !slices.Equal(*given, want) {
		t.Errorf("loaded %v; want %v", *given, want)
	}
	if got := m.For("of:NxTyCfoo,b-bar"); !slices.Equal(got, []string{"macvtap"}) {
		t.Errorf("a pattern with a range finds %v", got)
	}
	for _, name := range []string{"fs-nothing", "../../etc/passwd", ""} {
		if err := m.Request(name); !errors.Is(err, ErrNoModule) {
			t.Errorf("Request(%q) = %v; want ErrNoModule", name, err)
		}
	}
}

func TestADeviceThatAppearsGetsItsModule(t *testing.T) {
	m, given := modules(t, "nvme nvme.ko\ne1000e e1000e.ko\n", "alias pci:v1* e1000e\nalias pci:v2* nvme\n")
	bus := folder(t, map[string]string{"pci/devices/0000:00:02.0/modalias": "pci:v1\n", "usb/devices/1-1/idle": ""})
	ctx, cancel := context.WithCancel(t.Context())
	told, ended := make(chan string, 10), make(chan struct{})
	go func() {
		defer close(ended)
		m.Hotplug(ctx, bus, time.Millisecond, func(device string, err error) { told <- device })
	}()
	time.Sleep(20 * time.Millisecond)
	disk := filepath.Join(bus, "pci/devices/0000:00:03.0")
	if err := os.Mkdir(disk+".new", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(disk+".new/modalias", []byte("pci:v2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(disk+".new", disk); err != nil { // a device is there whole
		t.Fatal(err)
	}
	var first string
	select {
	case first = <-told:
	case <-time.After(20 * time.Second):
		t.Fatal("nothing was told")
	}
	cancel()
	<-ended
	if !strings.HasPrefix(first, "pci/devices/0000:00:03.0") || !slices.Equal(*given, []string{"nvme.ko"}) {
		t.Errorf("device %s, modules %v", first, *given)
	}
}

func TestAPartitionIsFoundByItsName(t *testing.T) {
	part := func(name, dev, n string) string {
		return "DEVNAME=" + dev + "\nDEVTYPE=partition\nPARTN=" + n + "\nPARTNAME=" + name + "\n"
	}
	class := folder(t, map[string]string{
		"vda/uevent": "DEVNAME=vda\nDEVTYPE=disk\n", "vda/vda3/uevent": part("beffroi-state", "vda3", "3"), "vda/vda3/size": "2048\n",
		"vdb/vdb1/uevent": part("data", "vdb1", "1"), "vdb/vdb1/size": "2048\n",
	})
	links := t.TempDir()
	for link, to := range map[string]string{"vda": "vda", "vda3": "vda/vda3", "vdb1": "vdb/vdb1"} {
		if err := os.Symlink(filepath.Join(class, to), filepath.Join(links, link)); err != nil {
			t.Fatal(err)
		}
	}
	p, err := FindPartition(links, "beffroi-state")
	if err != nil || p != (Partition{Name: "beffroi-state", Path: "/dev/vda3", Disk: "/dev/vda", Number: 3, Size: 1 << 20}) {
		t.Errorf("FindPartition = %+v, %v", p, err)
	}
	if _, err := FindPartition(links, "beffroi-seed"); !errors.Is(err, ErrNoPartition) {
		t.Errorf("FindPartition = %v; want ErrNoPartition", err)
	}
	if err := os.WriteFile(filepath.Join(class, "vdb/vdb1/uevent"), []byte(part("beffroi-state", "vdb1", "1")), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := FindPartition(links, "beffroi-state"); !errors.Is(err, ErrManyPartitions) {
		t.Errorf("with a second appliance's disk: %v; want ErrManyPartitions", err)
	}
}

func TestOnlyABlankPartitionCountsAsBlank(t *testing.T) {
	dir := t.TempDir()
	for name, at := range map[string]int{"blank": -1, "ext4": 1080, "lvm": 512, "late": blankBytes - 1} {
		b := make([]byte, 2*blankBytes)
		if at >= 0 {
			b[at] = 1
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if blank, err := isBlank(path); err != nil || blank != (at < 0) {
			t.Errorf("%s: blank %v, %v", name, blank, err)
		}
	}
}
