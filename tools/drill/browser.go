package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/chromedp/chromedp"

	"beffroi.dev/tools/filing"
)

// browser files reports in a real, headless browser, with the page's own script:
// what a citizen does who clicks, types and waits.
type browser struct {
	base string
	ctx  context.Context
	stop func()
}

func newBrowser(ctx context.Context, base, profile string) (*browser, error) {
	opts := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath("chromium"), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.UserDataDir(profile), chromedp.WindowSize(400, 800),
		chromedp.Flag("disable-background-networking", true), chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-sync", true), chromedp.Flag("disable-quic", true), chromedp.Flag("no-first-run", true))
	alloc, stopAlloc := chromedp.NewExecAllocator(ctx, opts...)
	bctx, stopTab := chromedp.NewContext(alloc)
	b := &browser{base: base, ctx: bctx, stop: func() { stopTab(); stopAlloc() }}
	if err := chromedp.Do(bctx, chromedp.Navigate("about:blank")); err != nil {
		b.stop()
		return nil, fmt.Errorf("start the browser: %w", err)
	}
	return b, nil
}

// file fills the form in and sends it. Fetching the form is tried again when it
// gets no answer; once it is sent, everything is left to the page: an error that
// the citizen would see is a failure.
func (b *browser) file(ctx context.Context, text string) (code string, sent time.Time, err error) {
	if err := filing.Patiently(ctx, func() error { return b.open() }); err != nil {
		return "", sent, err
	}
	sent = time.Now()
	wait, cancel := context.WithTimeout(b.ctx, 2*time.Minute)
	defer cancel()
	if err := chromedp.Do(wait,
		chromedp.Click(chromedp.CSS(`input[name="categorie"][value="eclairage"]`)),
		chromedp.SetValue(chromedp.CSS(`#c-lieu`), "12 rue de l'Église"),
		chromedp.SetValue(chromedp.CSS(`#c-description`), text),
		chromedp.Click(chromedp.CSS(`button[data-submit]`)),
	); err != nil {
		return "", sent, fmt.Errorf("fill in the form: %w", err)
	}
	for {
		at, err := chromedp.Run(wait, chromedp.Location())
		if err != nil {
			return "", sent, fmt.Errorf("wait for the receipt: %w", err)
		}
		u, err := url.Parse(at)
		if err != nil {
			return "", sent, err
		}
		if m := filing.Receipt.FindStringSubmatch(u.Path); m != nil {
			return m[1], sent, b.shows(wait, m[1])
		}
		if !strings.HasPrefix(u.Path, filing.FormPath) {
			return "", sent, fmt.Errorf("the citizen is shown %s instead of a receipt", at)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// open loads the form with a deadline of its own, as a citizen who presses reload.
func (b *browser) open() error {
	ctx, cancel := context.WithTimeout(b.ctx, 3*time.Second)
	defer cancel()
	if err := chromedp.Do(ctx, chromedp.Navigate(b.base+filing.FormPath)); err != nil {
		return err
	}
	n, err := chromedp.Run(ctx, chromedp.Evaluate[int](`document.querySelectorAll('button[data-submit]').length`))
	if err != nil {
		return err
	}
	if n == 0 {
		return errors.New("the page shown is not the form")
	}
	return nil
}

// shows waits until the receipt with its code is on the screen.
func (b *browser) shows(ctx context.Context, code string) error {
	limit := time.Now().Add(30 * time.Second)
	for {
		body, err := chromedp.Run(ctx, chromedp.Evaluate[string](`document.body ? document.body.innerText : ""`))
		if err == nil && strings.Contains(body, code) {
			return nil
		}
		if time.Now().After(limit) {
			return fmt.Errorf("the receipt %s is not shown: %.200q", code, body)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
