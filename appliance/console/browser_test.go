package console

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"beffroi.dev/pkg/quorum/cluster"
)

// screen is a real browser, operated by its keyboard.
type screen struct {
	t   *testing.T
	ctx context.Context
	url string
}

func newScreen(r *rig) *screen {
	if testing.Short() {
		r.t.Skip("a real browser: some seconds")
	}
	if _, err := exec.LookPath("chromium"); err != nil {
		if os.Getenv("BEFFROI_REQUIRE_TOOLS") == "1" {
			r.t.Fatalf("chromium is required: %v", err)
		}
		r.t.Skip("chromium is not installed")
	}
	opts := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath("chromium"), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.UserDataDir(r.t.TempDir()), chromedp.Flag("ignore-certificate-errors", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("no-first-run", true))
	alloc, stopAlloc := chromedp.NewExecAllocator(r.t.Context(), opts...)
	ctx, stop := chromedp.NewContext(alloc)
	r.t.Cleanup(func() { stop(); stopAlloc() })
	if err := chromedp.Do(ctx, chromedp.Navigate("about:blank")); err != nil { // it lives as long as ctx
		r.t.Fatalf("start the browser: %v", err)
	}
	return &screen{t: r.t, ctx: ctx, url: r.url}
}

func (s *screen) do(steps ...chromedp.Action[chromedp.Void]) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.ctx, time.Minute)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		s.t.Fatal(err)
	}
}

// eval asks the page; a page that is being replaced answers nothing.
func (s *screen) eval(expression string) string {
	ctx, cancel := context.WithTimeout(s.ctx, 10*time.Second)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[string]("String("+expression+")"))
	if err != nil {
		return ""
	}
	return v
}

// reach goes on by the Tab key until what a selector finds has the focus.
func (s *screen) reach(selector string) {
	s.t.Helper()
	for range 60 {
		if s.eval(fmt.Sprintf("document.activeElement.matches(%q)", selector)) == "true" {
			return
		}
		s.do(chromedp.KeyEvent(kb.Tab))
	}
	s.t.Fatalf("the Tab key never reaches %s:\n%s", selector, s.eval("document.body.innerHTML"))
}

func (s *screen) write(selector, text string) {
	s.t.Helper()
	s.reach(selector)
	s.do(chromedp.KeyEvent(text))
}

// press reaches a link or a button, presses Enter, and waits for a page with a heading.
func (s *screen) press(selector, heading string) {
	s.t.Helper()
	s.reach(selector)
	s.do(chromedp.KeyEvent(kb.Enter))
	s.await(heading)
}

func (s *screen) await(heading string) {
	s.t.Helper()
	title := ""
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		title = strings.NewReplacer("\u00a0", " ", "\u202f", " ").Replace(s.eval(`document.readyState == "complete" && document.querySelector("h1")?.textContent`))
		if strings.Contains(title, heading) {
			s.fits()
			return
		}
	}
	s.t.Fatalf("the page is %q; want %q\n%s", title, heading, s.eval("document.body.innerText"))
}

// fits holds the page against what every page here promises, on a phone and on a desk.
func (s *screen) fits() {
	s.t.Helper()
	for _, width := range []int64{360, 1280} {
		s.do(chromedp.EmulateViewport(width, 800))
		if got := s.eval("document.documentElement.scrollWidth"); got != fmt.Sprint(width) {
			s.t.Errorf("%s is %s wide on a screen of %d", s.eval("location.pathname"), got, width)
		}
		if dir := os.Getenv("BEFFROI_SCREENS"); dir != "" { // for people to look at
			b, err := chromedp.Run(s.ctx, chromedp.FullScreenshot(100))
			name := strings.Trim(strings.ReplaceAll(s.eval("location.pathname+'-'+document.querySelector('h1').textContent.slice(0,18)"), "/", "-"), "-")
			if err == nil {
				err = os.WriteFile(filepath.Join(dir, fmt.Sprintf("%s-%d.png", name, width)), b, 0o600)
			}
			if err != nil {
				s.t.Error(err)
			}
		}
	}
	s.do(chromedp.EmulateViewport(360, 800))
	small := s.eval(`[...document.querySelectorAll("main .button, main input:not([type=checkbox]), main .check")].filter(e => e.getBoundingClientRect().height < 44).map(e => e.outerHTML).join()`)
	if small != "" {
		s.t.Errorf("too small for a finger: %s", small)
	}
	if unnamed := s.eval(`[...document.querySelectorAll("input")].filter(e => !e.labels.length).map(e => e.name).join()`); unnamed != "" {
		s.t.Errorf("fields without a label: %s", unnamed)
	}
}

func TestAgentsAreManagedByKeyboardOnAPhone(t *testing.T) {
	r := newRig(t)
	w := r.counter(self)
	r.user("anne", cluster.RoleAdmin)
	s := newScreen(r)
	s.do(chromedp.EmulateViewport(360, 800), chromedp.Navigate(s.url+"/login"))
	s.write("#name", "anne")
	s.write("#password", "mot-de-passe-anne")
	s.press("form[action='/login'] button", "Nœud a")
	s.press("a[href='/agents']", "Agents de la mairie")
	s.press("a[href='/agents/new']", "Nouvel agent")

	s.write("#display", "Camille Martin")
	s.write("#name", "Martin")
	s.write("#password", word)
	s.write("#again", word)
	s.reach("form[data-once] button")
	s.do(chromedp.KeyEvent(kb.Enter))
	for end := time.Now().Add(time.Minute); s.eval(`document.querySelector("[role=alert]") != null`) != "true"; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the fault is never said")
		}
	}
	s.await("Nouvel agent")
	if got := s.eval(`document.activeElement.id + " " + document.activeElement.value + " " + document.querySelector("#display").value + " " + document.querySelector("#password").value`); got != "name Martin Camille Martin " {
		t.Errorf("after a fault: %q; want the focus in the field, what was typed, and no password", got)
	}
	s.do(chromedp.KeyEvent("a", chromedp.KeyModifiers(2))) // Ctrl: all of it
	s.do(chromedp.KeyEvent("martin"))
	s.write("#password", word)
	s.write("#again", word)
	s.press("form[data-once] button", "martin est créé")
	first := strings.ReplaceAll(s.eval(`document.querySelector("#secret").textContent`), " ", "")
	if got := s.eval(`(() => { const q = document.querySelector("svg.qr"), b = q.getBoundingClientRect(); return [getComputedStyle(q.querySelector(".ink")).fill, getComputedStyle(q.querySelector(".paper")).fill, b.width >= 240, b.width == b.height].join() })()`); got != "rgb(0, 0, 0),rgb(255, 255, 255),true,true" {
		t.Errorf("the code to scan is drawn as %s", got)
	}
	token, err := w.Login("martin", word, first)
	if err != nil {
		t.Fatal(err)
	}
	s.press("main a.button", "Agents de la mairie")

	s.press("a[href='/agents/martin/renew']", "Renouveler l'agent martin")
	s.reach("input[name=secret]")
	s.do(chromedp.KeyEvent(" ")) // it was ticked: a new password alone
	s.write("#password", word+"!")
	s.write("#again", word+"!")
	s.press("form[data-once] button", "Agents de la mairie")
	if _, err := w.Session(t.Context(), token); err == nil {
		t.Error("the session outlives the renewal")
	}
	if token, err = w.Login("martin", word+"!", first); err != nil {
		t.Error(err)
	}
	s.press("a[href='/agents/martin/close']", "Fermer l'agent martin ?")
	s.press("form[data-once] button", "Agents de la mairie")
	if _, err := w.Session(t.Context(), token); err == nil {
		t.Error("the session outlives the closing")
	}
	s.press("a[href='/agents/martin/reopen']", "Rouvrir l'agent martin")
	s.write("#password", word)
	s.write("#again", word)
	s.press("form[data-once] button", "peut de nouveau se connecter")
	if _, err := w.Login("martin", word, strings.ReplaceAll(s.eval(`document.querySelector("#secret").textContent`), " ", "")); err != nil {
		t.Errorf("reopened: %v", err)
	}
	if len(first) < 26 {
		t.Errorf("a secret of %d letters", len(first))
	}
}

// Who clicks twice must see the secret, and not that the name is taken. Events of
// submission are made here: how fast a second click comes is no test's to say.
func TestAFormThatMakesASecretIsSentOnce(t *testing.T) {
	r := newRig(t)
	r.user("anne", cluster.RoleAdmin)
	s := newScreen(r)
	s.do(chromedp.EmulateViewport(360, 800), chromedp.Navigate(s.url+"/login"))
	s.write("#name", "anne")
	s.write("#password", "mot-de-passe-anne")
	s.press("form[action='/login'] button", "Nœud a")
	s.do(chromedp.Navigate(s.url + "/agents/new"))
	s.await("Nouvel agent")
	got := s.eval(`(() => {
		const form = document.querySelector("main form");
		const sent = () => form.dispatchEvent(new Event("submit", {bubbles: true, cancelable: true}));
		const twice = [sent(), sent()];
		window.dispatchEvent(new Event("pageshow")); // by the browser's way back
		return [...twice, sent()].join();
	})()`)
	if got != "true,false,true" {
		t.Errorf("sent, sent again, and again after coming back: %s; want true,false,true", got)
	}
}
