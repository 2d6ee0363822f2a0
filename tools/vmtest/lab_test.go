package vmtest

import (
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"beffroi.dev/tools/histories/rig"
	"beffroi.dev/tools/serial"
)

// labVerbs uses what the lab shows of a machine, and shapes a cable: each verb does on a
// whole machine what docs/lab.md says.
func labVerbs(t *testing.T, s *service) {
	node, _ := s.whole(t)
	t.Run("screen", func(t *testing.T) { labScreen(t, s, node) })
	t.Run("serial", func(t *testing.T) { labSerial(t, s, node) })
	t.Run("logs", func(t *testing.T) {
		s.LeaveLine(node) // the lab reads them over the serial line
		for _, service := range []string{"citizen", "block"} {
			out, err := s.Do("logs", node, service)
			if err != nil || !strings.Contains(string(out), "level=") {
				t.Errorf("the log of %s: %v: %.200q", service, err, out)
			}
		}
	})
	t.Run("shape and cut one way", func(t *testing.T) { labShapes(t, s, node) })
	s.whole(t)
}

// light counts the points of a machine's screen that are not black.
func light(t *testing.T, s *service, node string) int {
	t.Helper()
	file := filepath.Join(t.TempDir(), "screen.png")
	do(t, s.Pair, "screen", node, file)
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	picture, err := png.Decode(f)
	if err != nil {
		t.Fatal(err)
	}
	n, b := 0, picture.Bounds()
	for y := b.Min.Y; y < b.Max.Y; y++ {
		for x := b.Min.X; x < b.Max.X; x++ {
			if r, g, bl, _ := picture.At(x, y).RGBA(); r+g+bl > 0x8000 {
				n++
			}
		}
	}
	return n
}

// labScreen looks at the screen of a machine: the console is there too, and its keyboard
// works: the menu has fewer words than the status.
func labScreen(t *testing.T, s *service, node string) {
	status := light(t, s, node)
	if status < 2000 {
		t.Errorf("%d points of the screen are lit: it is black", status)
	}
	key := func(name string) {
		t.Helper()
		m := openMonitor(t, s.Pair, node) // one at a time: the lab looks by it, too
		defer m.Close()
		keys := []map[string]string{{"type": "qcode", "data": name}}
		if _, err := m.Command(within(t, seenBound), "send-key", map[string]any{"keys": keys}); err != nil {
			t.Fatal(err)
		}
	}
	key("m")
	menu := status
	for limit := time.Now().Add(seenBound); menu > status*9/10; menu = light(t, s, node) {
		if time.Now().After(limit) {
			t.Fatalf("the screen does not show the menu: %d points, then %d", status, menu)
		}
		time.Sleep(time.Second)
	}
	key("esc")
	t.Logf("points of the screen that are lit: %d of the status, %d of the menu", status, menu)
}

// labSerial reads what the serial line of a machine has said since its power-on.
func labSerial(t *testing.T, s *service, node string) {
	out, err := s.Do("serial", node)
	if err != nil || !strings.Contains(string(out), "process 1 is up") || !strings.Contains(string(out), " BEFFROI · ") {
		t.Errorf("the serial line of %s: %v, %d bytes", node, err, len(out))
	}
}

// echoes sends some to the twin over the lan, and returns how many came back, and the
// shortest time of one.
func echoes(t *testing.T, sh *serial.Shell, to string) (back int, fastest time.Duration) {
	t.Helper()
	// Each of its own: a whole series ends with the first that is lost.
	out, _, err := sh.Run(within(t, quietBound), "n=0; while [ $n -lt 20 ]; do ping -c 1 -i 1 "+to+"; n=$((n+1)); done 2>&1")
	if err != nil {
		t.Fatal(err)
	}
	fastest = time.Hour
	for word := range strings.FieldsSeq(out) {
		if text, ok := strings.CutPrefix(word, "time="); ok {
			took, err := time.ParseDuration(text)
			if err != nil {
				t.Fatal(err)
			}
			back, fastest = back+1, min(fastest, took)
		}
	}
	return back, fastest
}

func labShapes(t *testing.T, s *service, node string) {
	sh := s.shell(t, node)
	to, _, _ := strings.Cut(lanOf[rig.Twin(node)], "/")
	link := "lan-" + rig.Twin(node)
	back, near := echoes(t, sh, to)
	do(t, s.Pair, "shape", link, "--delay", "300ms", "--loss", "0.5", "--from", node)
	shaped, far := echoes(t, sh, to)
	do(t, s.Pair, "cut", link, "--from", rig.Twin(node))
	cut, _ := echoes(t, sh, to)
	do(t, s.Pair, "heal", link)
	healed, _ := echoes(t, sh, to)
	t.Logf("echoes of 20: %d after %v; shaped %d after %v; cut one way %d; healed %d", back, near, shaped, far, cut, healed)
	// A machine that is emulated may be late once; of what is shaped half is lost.
	if back < 18 || healed < 18 || shaped >= 18 || shaped == 0 || far < 300*time.Millisecond || cut != 0 {
		t.Error("the cable is not shaped as it was asked for")
	}
	s.leave(t, sh)
}
