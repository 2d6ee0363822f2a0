package vmtest

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"beffroi.dev/tools/filing"
	"beffroi.dev/tools/serial"
)

// replacePause is between two filings here: a pair that was founded has the service's
// own rule of how often one address may file.
const replacePause = 5 * time.Second

// shownCode is the code of a blank machine; its screen may still be half drawn.
func shownCode(t *testing.T, line *serial.Line) string {
	t.Helper()
	for limit := time.Now().Add(seenBound); ; time.Sleep(100 * time.Millisecond) {
		if code := codePattern.FindString(sees(t, line, "Code")); code != "" {
			return code
		}
		if time.Now().After(limit) {
			t.Fatal("the machine shows no code")
		}
	}
}

// entryOf does an entry of the menu.
func entryOf(t *testing.T, line *serial.Line, entry string, want ...string) string {
	t.Helper()
	if _, err := line.Menu(within(t, seenBound)); err != nil {
		t.Fatal(err)
	}
	if err := line.Choose(within(t, seenBound), entry); err != nil {
		t.Fatal(err)
	}
	return sees(t, line, want...)
}

// well waits until a console says that all is mirrored.
func well(t *testing.T, line *serial.Line) {
	t.Helper()
	if _, err := line.Home(within(t, seenBound)); err != nil {
		t.Fatal(err)
	}
	for ctx := within(t, quietBound); ; {
		screen, err := line.Await(ctx, "ALL IS WELL")
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(screen, "two copies up to date") {
			return
		}
		time.Sleep(time.Second)
	}
}

// A server burns while citizens file. A third machine, blank, shows its code; typed on
// the survivor's serial line it takes the lost one's place, gets all data, and carries
// the town when the survivor dies in its turn: each report that was ever acknowledged
// is there.
func TestABurntServerIsReplacedFromTheSerialConsole(t *testing.T) {
	long(t)
	dir, lab := blankPair(t)
	a := foundBySerial(t, dir)
	url := citizensURL(t, dir)
	served(t, url)
	citizen := &citizens{Filer: filing.New(url)}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- citizen.Run(ctx, replacePause) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil && !t.Failed() {
			t.Errorf("citizens: %v", err)
		}
	})
	citizen.goOn(t, time.Now())

	// A node that answers is not replaced.
	entryOf(t, a, "Replace the other node", "a node that answers is not replaced")

	lab("kill", "b")
	citizen.goOn(t, time.Now())
	lab("blank", "b", "--image", image(t))
	lab("start", "b")
	b, _ := seat(t, dir, "b", "belongs to no pair", "Code")
	code := shownCode(t, b)
	_ = b.Close() // a serial line has one terminal
	begun := time.Now()
	t.Log(entryOf(t, a, "Replace the other node", "REFUSED for ever"))
	answer(t, a, "\x1b[B\r", "the new machine's screen shows", code[:2]+"...")
	wrong := "2222-2222"
	answer(t, a, wrong+"\r\r", "Failed")
	t.Log(answer(t, a, "\x1b[A"+strings.Repeat("\x7f", len(wrong))+code+"\r\r", "belongs to the pair; the old one is refused"))
	t.Logf("from the menu to the vote: %.1f s", time.Since(begun).Seconds())
	citizen.goOn(t, time.Now())
	well(t, a)
	t.Logf("from the menu until all is mirrored again: %.1f s, longest wait of a filing %.2f s", time.Since(begun).Seconds(), filing.LongestGap(citizen.Taken(), begun).Seconds())
	_ = a.Close()

	lab("kill", "a")
	killed := time.Now()
	citizen.goOn(t, killed)
	all := citizen.Taken()
	if err := citizen.Check(within(t, quietBound), all); err != nil {
		t.Fatal(err)
	}
	t.Logf("the new machine serves alone: longest wait of a filing %.2f s; %d reports are there", filing.LongestGap(all, killed).Seconds(), len(all))
	lab("start", "a")
	b, _ = seatOf(t, dir, "b")
	well(t, b)
}

// seatOf is the serial line of a machine that serves, in English.
func seatOf(t *testing.T, dir, node string) (*serial.Line, string) {
	t.Helper()
	line, err := serial.Dial(within(t, bootBound), filepath.Join(dir, node, "serial.sock"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = line.Close() })
	speak(t, line, serial.English)
	return line, sees(t, line, "BEFFROI")
}
