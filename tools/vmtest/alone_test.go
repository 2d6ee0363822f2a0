package vmtest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"

	"beffroi.dev/tools/serial"
	"beffroi.dev/tools/vmpair"
)

// Words of the first-boot screen.
var firstScreen = []string{"Première mise en service", "F2/l English"}

// alone powers one server on; what it said is printed when the test fails.
func alone(t *testing.T, a vmpair.Alone) *vmpair.Machine {
	t.Helper()
	m, err := vmpair.PowerOn(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if said := m.Said(); t.Failed() {
			t.Logf("the serial line said at the end:\n%s\nthe screen:\n%s", said[max(0, len(said)-6000):], m.Line.Screen())
		}
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

// disk is a copy of the image that may be spoiled.
func disk(t *testing.T, from string, size int64) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "disk.raw")
	if err := vmpair.CopyDisk(from, file, size); err != nil {
		t.Fatal(err)
	}
	return file
}

// shows waits for a whole screen, a boot away.
func shows(t *testing.T, m *vmpair.Machine, texts ...string) string {
	t.Helper()
	if _, err := m.Line.Await(within(t, bootBound), texts...); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second) // the rest of the screen, for who reads the log
	return m.Line.Screen()
}

// once checks that a machine did not start over: a loop would.
func once(t *testing.T, m *vmpair.Machine) {
	t.Helper()
	if n := strings.Count(m.Said(), "process 1 is up"); n != 1 {
		t.Errorf("process 1 came up %d times", n)
	}
	if strings.Contains(m.Said(), "Kernel panic") {
		t.Error("the kernel has panicked")
	}
}

// bootMenu opens the table of the boot and returns its screen.
func bootMenu(t *testing.T, m *vmpair.Machine, want ...string) string {
	t.Helper()
	ctx := within(t, seenBound)
	if _, err := m.Line.Menu(ctx); err != nil {
		t.Fatal(err)
	}
	if err := m.Line.Choose(ctx, "Déroulement"); err != nil {
		t.Fatal(err)
	}
	return shows(t, m, want...)
}

// The command that README.md names boots the image alone, as dd would have written
// it, to the first-boot screen.
func TestTheCommandOfTheReadme(t *testing.T) {
	long(t)
	image(t)
	readme, err := os.ReadFile(filepath.Join(root(t), "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	at := strings.Index(string(readme), "    cp /usr/share/OVMF/OVMF_VARS_4M.fd")
	if at < 0 {
		t.Fatal("README.md names no command")
	}
	command, _, _ := strings.Cut(string(readme[at:]), "\n\n")
	cmd := exec.Command("sh", "-c", "exec 2>&1\n"+command)
	cmd.Dir = root(t)
	tty, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: serial.Height, Cols: serial.Width})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	line := serial.New(tty)
	defer line.Close()
	begun := time.Now()
	screen, err := line.Await(within(t, bootBound), firstScreen...)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("after %.1f s:\n%s", time.Since(begun).Seconds(), screen)
}

// A server whose watchdog, card or disk this image cannot drive says so, in words.
func TestHardwareThatIsMissing(t *testing.T) {
	long(t)
	file := image(t)
	t.Run("no watchdog", func(t *testing.T) {
		m := alone(t, vmpair.Alone{Disk: file, NoWatchdog: true})
		shows(t, m, firstScreen...)
		t.Log(bootMenu(t, m, "Chien de garde", "ÉCHEC, ignoré", "Cette machine n'a pas de chien de garde"))
		once(t, m)
	})
	t.Run("a card without a driver", func(t *testing.T) {
		m := alone(t, vmpair.Alone{Disk: file, Cards: "rtl8139"})
		t.Log(shows(t, m, "Identité du nœud", "ÉCHEC, réessai", "Un réseau de ce nœud n'a pas sa carte", "there is no card #0"))
		once(t, m)
		wayOn(t, m)
	})
	t.Run("a disk controller without a driver", func(t *testing.T) {
		// The firmware has no driver either: it starts from a stick with nothing but the
		// ESP on it.
		stick := disk(t, file, 0)
		onlyESP(t, stick)
		m := alone(t, vmpair.Alone{Disk: stick, Beside: file, Controller: "lsi53c895a"})
		t.Log(shows(t, m, "Partitions du disque", "ÉCHEC, réessai", "Aucun disque de cette machine ne porte", "beffroi-state"))
		once(t, m)
		wayOn(t, m)
	})
	t.Run("a release that lacks a driver beside another one", func(t *testing.T) {
		stick := disk(t, file, 0)
		addEntry(t, stick, "beffroi_0.0.1.efi")
		onlyESP(t, stick)
		m := alone(t, vmpair.Alone{Disk: stick, Beside: file, Controller: "lsi53c895a"})
		t.Log(shows(t, m, "ÉCHEC, réessai", "reprend de lui-même la version", "précédente"))
		once(t, m)
	})
}

// wayOn checks that the console of a node that is stuck can be used: its menu
// reboots the machine.
func wayOn(t *testing.T, m *vmpair.Machine) {
	t.Helper()
	ctx := within(t, seenBound)
	if _, err := m.Line.Menu(ctx); err != nil {
		t.Fatal(err)
	}
	if err := m.Line.Choose(ctx, "Redémarrer ce nœud"); err != nil {
		t.Fatal(err)
	}
	shows(t, m, "Oui, redémarrer")
	if err := m.Line.Press("2\r"); err != nil {
		t.Fatal(err)
	}
	for limit := time.Now().Add(bootBound); strings.Count(m.Said(), "process 1 is up") < 2; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatal("the console's reboot did not start the machine again")
		}
	}
}
