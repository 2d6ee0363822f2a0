package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"html"
	"io"
	"mime/multipart"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// filing is one report that was acknowledged.
type filing struct {
	code, text string
	begun, at  time.Time // sent for the first time; acknowledged
}

// citizens files reports in a loop, as a browser that knows only the service
// address would: what gets no answer is sent again with the same token.
type citizens struct {
	base   string
	client http.Client
	cancel context.CancelFunc
	done   chan struct{}

	mu    sync.Mutex // guards taken
	taken []filing
}

const filingForm = "/demarches/signalement-voirie/formulaire"

var (
	filingAction  = regexp.MustCompile(`action="(` + filingForm + `\?jeton=[^"]+)"`)
	filingReceipt = regexp.MustCompile(`^/suivi/([0-9A-Z-]+)/recu$`)
)

// file starts citizens, who file until the end of the test or stop.
func file(t *testing.T, base string) *citizens {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	c := &citizens{base: base, cancel: cancel, done: make(chan struct{}), client: http.Client{
		Timeout: 3 * time.Second, Transport: &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	go func() {
		defer close(c.done)
		for n := 1; ctx.Err() == nil; n++ {
			c.one(ctx, fmt.Sprintf("Lampadaire éteint, essai %d de %s", n, t.Name()))
			rest(ctx, 30*time.Millisecond)
		}
	}()
	t.Cleanup(c.stop)
	return c
}

func (c *citizens) stop() {
	c.cancel()
	<-c.done
}

func rest(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// again tries until it works or ctx ends.
func again(ctx context.Context, try func() error) {
	for ctx.Err() == nil && try() != nil {
		rest(ctx, 20*time.Millisecond)
	}
}

func (c *citizens) one(ctx context.Context, text string) {
	var target string
	again(ctx, func() error {
		body, _, err := c.get(ctx, filingForm)
		m := filingAction.FindStringSubmatch(body)
		if m == nil {
			return errors.Join(err, errors.New("no form"))
		}
		target = html.UnescapeString(m[1])
		return nil
	})
	f := filing{text: text, begun: time.Now()}
	again(ctx, func() (err error) {
		f.code, err = c.send(ctx, target, text)
		return err
	})
	if f.code == "" {
		return
	}
	f.at = time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.taken = append(c.taken, f)
}

func (c *citizens) send(ctx context.Context, target, text string) (string, error) {
	var body bytes.Buffer
	w := multipart.NewWriter(&body)
	for k, v := range map[string]string{"categorie": "eclairage", "lieu": "12 rue de l'Église", "description": text} {
		if err := w.WriteField(k, v); err != nil {
			return "", err
		}
	}
	if err := w.Close(); err != nil {
		return "", err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+target, &body)
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", w.FormDataContentType())
	res, err := c.client.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	m := filingReceipt.FindStringSubmatch(res.Header.Get("Location"))
	if res.StatusCode != http.StatusSeeOther || m == nil {
		return "", fmt.Errorf("filing answered %s", res.Status)
	}
	return m[1], nil
}

func (c *citizens) get(ctx context.Context, path string) (string, int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+path, nil)
	if err != nil {
		return "", 0, err
	}
	res, err := c.client.Do(req)
	if err != nil {
		return "", 0, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, 4<<20))
	return string(b), res.StatusCode, err
}

// all returns what was acknowledged so far.
func (c *citizens) all() []filing {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.taken)
}

// since counts the reports that were sent for the first time after an instant and
// acknowledged.
func (c *citizens) since(t time.Time) int {
	n := 0
	for _, f := range c.all() {
		if f.begun.After(t) {
			n++
		}
	}
	return n
}

// goOn waits until three more reports are filed.
func (c *citizens) goOn(t *testing.T, bound time.Duration) {
	t.Helper()
	from := time.Now()
	for c.since(from) < 3 {
		if time.Since(from) > bound {
			t.Fatalf("%d of 3 reports were acknowledged in %v", c.since(from), bound)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// readBack stops the citizens; every acknowledged report must be there, under a
// code of its own. It returns the longest time between two acknowledgements.
func (c *citizens) readBack(t *testing.T) time.Duration {
	t.Helper()
	c.stop()
	var longest time.Duration
	taken, codes := c.all(), map[string]bool{}
	for i, f := range taken {
		if codes[f.code] {
			t.Errorf("code %s was given twice", f.code)
		}
		codes[f.code] = true
		if i > 0 {
			longest = max(longest, f.at.Sub(taken[i-1].at))
		}
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		last := "no answer"
		again(ctx, func() error {
			body, status, err := c.get(ctx, "/suivi/"+f.code)
			if err != nil {
				return err
			}
			if last = fmt.Sprintf("status %d", status); status >= http.StatusInternalServerError {
				return errors.New(last)
			}
			if status == http.StatusOK && strings.Contains(html.UnescapeString(body), f.text) {
				last = ""
			}
			return nil
		})
		cancel()
		if last != "" {
			t.Errorf("report %s (%s), acknowledged at %s, is not there: %s", f.code, f.text, f.at.Format("15:04:05.000"), last)
		}
	}
	t.Logf("%d reports acknowledged and read back; longest time between two: %.2f s", len(taken), longest.Seconds())
	return longest
}
