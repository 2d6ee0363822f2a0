package packages

// Wanted is what goes into an image, or builds it.
type Wanted struct {
	Name string
	// Libraries adds the packages of shared libraries that it depends on.
	Libraries bool
	// Follow replaces a package without contents by the one that it depends on
	// whose name begins so.
	Follow string
	// Optional packages are left out of the lock when the mirror has none.
	Optional bool
	Why      string
}

// Components are the parts of the archive that are searched, the first is needed.
var Components = []string{"main", "non-free-firmware"}

// Suite is the Debian release that images are made of.
const Suite = "bookworm"

// Image lists what an image is made of.
var Image = []Wanted{
	{Name: "linux-image-amd64", Follow: "linux-image-6.", Why: "kernel and modules"},
	{Name: "systemd-boot-efi", Why: "the loader and the stub of kernel images"},
	{Name: "squashfs-tools", Libraries: true, Why: "packs the user land; not in the image"},
	{Name: "qemu-system-x86", Libraries: true, Why: "runs the guests"},
	{Name: "qemu-system-common", Why: "QEMU's emulation as a module"},
	{Name: "qemu-system-data", Why: "QEMU's own firmware"},
	{Name: "qemu-utils", Libraries: true, Why: "qemu-img reads foreign disks"},
	{Name: "seabios", Why: "BIOS of guests"},
	{Name: "ovmf", Why: "UEFI of guests"},
	{Name: "ipxe-qemu", Why: "guests' network cards, for a boot from the network"},
	{Name: "e2fsprogs", Libraries: true, Why: "makes and checks the state partition"},
	{Name: "logsave", Why: "e2fsprogs depends on it"},
	{Name: "intel-microcode", Optional: true, Why: "corrections of processors"},
	{Name: "amd64-microcode", Optional: true, Why: "corrections of processors"},
	{Name: "firmware-bnx2x", Optional: true, Why: "firmware of network cards"},
	{Name: "firmware-misc-nonfree", Optional: true, Why: "firmware of tg3, ice and bnxt"},
}
