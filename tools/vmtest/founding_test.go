package vmtest

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"beffroi.dev/tools/serial"
)

var codePattern = regexp.MustCompile(`\b[2-9A-HJKMNP-Z]{4}-[2-9A-HJKMNP-Z]{4}\b`)

// blankPair boots two machines without a seed.
func blankPair(t *testing.T) (dir string, lab func(args ...string)) {
	t.Helper()
	dir, err := os.MkdirTemp("", "bef") // short, for the sockets
	if err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(root(t), "bin") // found now: at the end the test's context is over
	lab = func(args ...string) {
		t.Helper()
		if out, err := exec.Command(filepath.Join(bin, "lab"), append(args, "--dir", dir)...).CombinedOutput(); err != nil {
			t.Fatalf("lab %v: %v\n%s", args, err, out)
		}
	}
	t.Cleanup(func() {
		lab("down")
		_ = os.RemoveAll(dir)
	})
	lab("up", "--mode", "vm", "--blank", "--store", "512", "--image", image(t), "--beffroi", filepath.Join(bin, "beffroi"))
	return dir, lab
}

// joining starts a witness of an empty folder and returns its code.
func joining(t *testing.T, dir, listen string) string {
	t.Helper()
	cmd := exec.Command(filepath.Join(root(t), "bin", "beffroi"), "witness", "--join", "--dir", dir, "--listen", listen)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if code := codePattern.FindString(lines.Text()); code != "" {
			return code
		}
	}
	t.Fatal("the witness shows no code")
	return ""
}

// seat is the serial line of a machine, in English.
func seat(t *testing.T, dir, node string, want ...string) (*serial.Line, string) {
	t.Helper()
	ctx := within(t, bootBound)
	line, err := serial.Dial(ctx, filepath.Join(dir, node, "serial.sock"))
	for err != nil && ctx.Err() == nil { // the machine is being switched on
		time.Sleep(100 * time.Millisecond)
		line, err = serial.Dial(ctx, filepath.Join(dir, node, "serial.sock"))
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = line.Close() })
	if _, err := line.AwaitAny(within(t, bootBound), "Première mise en service", "First start", "Premiers mots de passe", "First passwords"); err != nil {
		t.Fatal(err)
	}
	speak(t, line, serial.English)
	return line, sees(t, line, want...)
}

// answer presses keys, and waits for what they lead to.
func answer(t *testing.T, line *serial.Line, keys string, want ...string) string {
	t.Helper()
	if err := line.Press(keys); err != nil {
		t.Fatal(err)
	}
	return sees(t, line, want...)
}

// next presses keys that lead to the next question; a refusal ends the test at once,
// with its words.
func next(t *testing.T, line *serial.Line, keys, want string) {
	t.Helper()
	if err := line.Press(keys); err != nil {
		t.Fatal(err)
	}
	screen, err := line.AwaitAny(within(t, seenBound), want, "Failed:")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(screen, want) {
		t.Fatalf("the answer is refused:\n%s", screen)
	}
}

// askFounding types a founding on a's serial line, to its last question, and returns that
// line.
func askFounding(t *testing.T, dir string) *serial.Line {
	t.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(free.Addr().String())
	_ = free.Close()
	witness := joining(t, filepath.Join(dir, "w"), "127.0.0.1:"+port)
	b, _ := seat(t, dir, "b", "belongs to no pair", "Code")
	twin := shownCode(t, b)
	_ = b.Close() // a serial line has one terminal
	a, _ := seat(t, dir, "a", "belongs to no pair", "Code", twin[:2]+"...")
	entryOf(t, a, "Found the pair", "(1/4)")
	answer(t, a, "Beauval\r\r\r10.75.0.10\r\r", "(2/4)", twin[:2]+"...")
	next(t, a, twin+"\r\r", "(3/4)")
	next(t, a, witness+"\r10.75.0.253:"+port+"\r", "(4/4)")
	sees(t, a, "(4/4)", "Beauval")
	return a
}

// noted says that the first passwords are written down.
func noted(t *testing.T, a *serial.Line) {
	t.Helper()
	answer(t, a, "\r", "written down?")
	if err := a.Press("\x1b[B\r"); err != nil {
		t.Fatal(err)
	}
}

// foundBySerial makes a pair of two blank machines and a witness, on a's serial line,
// and returns that line.
func foundBySerial(t *testing.T, dir string) *serial.Line {
	t.Helper()
	a := askFounding(t, dir)
	answer(t, a, "\x1b[B\r", "NOW, on paper")
	noted(t, a)
	well(t, a)
	return a
}

// Two blank machines and a witness of an empty folder become a pair that serves, by
// what a person types on one serial line. The power of both nodes goes right after the
// founding: the passwords are still there, and all goes on by itself.
func TestTwoBlankMachinesAreFounded(t *testing.T) {
	long(t)
	dir, lab := blankPair(t)
	a := askFounding(t, dir)
	begun := time.Now()
	secrets := answer(t, a, "\x1b[B\r", "NOW, on paper", "API token")
	t.Logf("from the last answer to the passwords: %.1f s\n%s", time.Since(begun).Seconds(), secrets)
	_ = a.Close()
	lab("kill", "a")
	lab("kill", "b")
	lab("start", "a")
	lab("start", "b")
	begun = time.Now()
	a, _ = seat(t, dir, "a", "NOW, on paper", regexp.MustCompile(`[0-9a-f]{40}`).FindString(secrets))
	noted(t, a)
	sees(t, a, "ALL IS WELL", "two copies up to date")
	served(t, citizensURL(t, dir))
	t.Logf("from power-on of the founded pair until citizens are served: %.1f s", time.Since(begun).Seconds())
}

// citizensURL is where the citizens of a lab find the town.
func citizensURL(t *testing.T, dir string) string {
	t.Helper()
	var description struct {
		Citizen string `json:"citizen_url"`
	}
	text, err := os.ReadFile(filepath.Join(dir, "lab.json"))
	if err == nil {
		err = json.Unmarshal(text, &description)
	}
	if err != nil {
		t.Fatal(err)
	}
	return description.Citizen
}

// served waits until the citizens' page is there.
func served(t *testing.T, url string) {
	t.Helper()
	for ctx := within(t, quietBound); ; time.Sleep(200 * time.Millisecond) {
		err := home(ctx, url+"/")
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			t.Fatal(err)
		}
	}
}

func home(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("citizens' page: %s", res.Status)
	}
	return nil
}
