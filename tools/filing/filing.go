package filing

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
	"time"
)

// Report is one that was acknowledged.
type Report struct {
	Code string
	Text string    // no other report has it
	Sent time.Time // for the first time
	At   time.Time // acknowledged
}

// Filer files reports one after another, as a browser without scripts would with
// a patient citizen before it: it knows only the service address, and what gets
// no answer is sent again with the same token.
type Filer struct {
	base   string
	client *http.Client
	// Send files one report; it returns its code and when it was sent for the first
	// time. Another way than ours may be set.
	Send func(ctx context.Context, text string) (code string, sent time.Time, err error)

	mu   sync.Mutex // guards done
	done []Report
}

// New makes one; base is the URL of the service address.
func New(base string) *Filer {
	f := &Filer{base: base, client: &http.Client{
		Timeout:       3 * time.Second,
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	f.Send = f.file
	return f
}

// FormPath is where the form of a report lies.
const FormPath = "/demarches/signalement-voirie/formulaire"

var (
	action = regexp.MustCompile(`action="(` + FormPath + `\?jeton=[^"]+)"`)
	// Receipt is the path of a receipt, with its code.
	Receipt = regexp.MustCompile(`^/suivi/([0-9A-Z-]+)/recu$`)
)

// textPrefix begins the text of every report that a Filer files.
const textPrefix = "Lampadaire éteint, essai "

// Run files until ctx ends.
func (f *Filer) Run(ctx context.Context, pause time.Duration) error {
	for n := 1; ctx.Err() == nil; n++ {
		text := fmt.Sprintf(textPrefix+"%d de %s", n, time.Now().Format("15:04:05.000000"))
		code, sent, err := f.Send(ctx, text)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		f.mu.Lock()
		f.done = append(f.done, Report{Code: code, Text: text, Sent: sent, At: time.Now()})
		f.mu.Unlock()
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
	return nil
}

// file fetches a form, fills it in and sends it until it is acknowledged.
func (f *Filer) file(ctx context.Context, text string) (code string, sent time.Time, err error) {
	var target string
	if err := Patiently(ctx, func() error {
		body, _, err := f.get(ctx, FormPath)
		if err != nil {
			return err
		}
		m := action.FindStringSubmatch(body)
		if m == nil {
			return errors.New("the form has no token")
		}
		target = html.UnescapeString(m[1])
		return nil
	}); err != nil {
		return "", sent, err
	}
	sent = time.Now()
	err = Patiently(ctx, func() error {
		var body bytes.Buffer
		w := multipart.NewWriter(&body)
		for k, v := range map[string]string{"categorie": "eclairage", "lieu": "12 rue de l'Église", "description": text} {
			if err := w.WriteField(k, v); err != nil {
				return err
			}
		}
		if err := w.Close(); err != nil {
			return err
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, f.base+target, &body)
		if err != nil {
			return err
		}
		req.Header.Set("Content-Type", w.FormDataContentType())
		res, err := f.client.Do(req)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		answer, _ := io.ReadAll(io.LimitReader(res.Body, 1<<20))
		m := Receipt.FindStringSubmatch(res.Header.Get("Location"))
		if res.StatusCode != http.StatusSeeOther || m == nil {
			return fmt.Errorf("filing answered %s: %.200s", res.Status, answer)
		}
		code = m[1]
		return nil
	})
	return code, sent, err
}

// Patiently tries again what got no answer or a temporary one, for two minutes.
func Patiently(ctx context.Context, try func() error) error {
	limit := time.Now().Add(2 * time.Minute)
	for {
		err := try()
		if err == nil || ctx.Err() != nil {
			return errors.Join(err, ctx.Err())
		}
		if time.Now().After(limit) {
			return fmt.Errorf("given up after two minutes: %w", err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (f *Filer) get(ctx context.Context, path string) (string, int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, f.base+path, nil)
	if err != nil {
		return "", 0, err
	}
	res, err := f.client.Do(req)
	if err != nil {
		return "", 0, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, 4<<20))
	if err != nil {
		return "", 0, err
	}
	if res.StatusCode >= 500 {
		return "", res.StatusCode, fmt.Errorf("%s answered %s", path, res.Status)
	}
	return string(b), res.StatusCode, nil
}

// Taken returns the filings acknowledged so far.
func (f *Filer) Taken() []Report {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]Report(nil), f.done...)
}

// Since counts the reports that were sent for the first time after an instant and
// acknowledged.
func (f *Filer) Since(t time.Time) (n int) {
	for _, one := range f.Taken() {
		if one.Sent.After(t) {
			n++
		}
	}
	return n
}

// readers is how many reports are read back at a time.
const readers = 8

// Check reads every report back by its code: it must be there, under a code of its
// own, with its text.
func (f *Filer) Check(ctx context.Context, reports []Report) error {
	codes := map[string]bool{}
	for _, one := range reports {
		if codes[one.Code] {
			return fmt.Errorf("code %s was given twice", one.Code)
		}
		codes[one.Code] = true
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var all sync.WaitGroup
	for part := range slices.Chunk(reports, max(1, (len(reports)+readers-1)/readers)) {
		all.Go(func() {
			for _, one := range part {
				if err := f.there(ctx, one); err != nil {
					cancel(err) // the first one counts
					return
				}
			}
		})
	}
	all.Wait()
	return context.Cause(ctx)
}

// there reads one report.
func (f *Filer) there(ctx context.Context, one Report) error {
	return Patiently(ctx, func() error {
		body, status, err := f.get(ctx, "/suivi/"+one.Code)
		if err != nil {
			return err
		}
		if status != http.StatusOK || !strings.Contains(html.UnescapeString(body), one.Text) {
			return fmt.Errorf("report %s (%s), acknowledged at %s, is not there: status %d", one.Code, one.Text, one.At.Format("15:04:05.000"), status)
		}
		return nil
	})
}

// LongestGap is the longest time between two acknowledged filings since an
// instant, counted from the last one before it.
func LongestGap(filings []Report, since time.Time) time.Duration {
	var longest time.Duration
	for i := 1; i < len(filings); i++ {
		if filings[i].At.After(since) {
			longest = max(longest, filings[i].At.Sub(filings[i-1].At))
		}
	}
	return longest
}
