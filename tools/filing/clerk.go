package filing

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"html"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/pquerna/otp/totp"
)

// Clerk is an agent of the town hall: she knows the service address, her password and
// her telephone.
type Clerk struct {
	base, name, password, secret string
	client                       *http.Client
	read                         map[int]string // of the list, until now
}

// Enrol makes an account of an agent, as an operator does, and returns the secret for
// the one-time codes.
type Enrol func(ctx context.Context, name, display, password string) (secret string, err error)

// Hire makes a clerk of her own name and logs her in.
func Hire(ctx context.Context, base string, enrol Enrol) (*Clerk, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	c := &Clerk{
		base: base, password: rand.Text(), read: map[int]string{},
		client: &http.Client{
			Jar: jar, Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
	if err := Patiently(ctx, func() (err error) {
		c.name = "clerk-" + strings.ToLower(rand.Text()[:8]) // another one each time: the answer may have been lost
		c.secret, err = enrol(ctx, c.name, "Camille Comptable", c.password)
		return err
	}); err != nil {
		return nil, fmt.Errorf("enrol an agent: %w", err)
	}
	return c, c.login(ctx)
}

// login is what she does in the morning. A code counts once, so that a second try
// needs the next one: the answer to the first may have been lost on its way.
func (c *Clerk) login(ctx context.Context) error {
	return Patiently(ctx, func() error {
		code, err := totp.GenerateCode(c.secret, time.Now())
		if err != nil {
			return err
		}
		form := url.Values{"nom": {c.name}, "mot-de-passe": {c.password}, "code": {code}, "suite": {"/agent"}}
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+"/agent/connexion", strings.NewReader(form.Encode()))
		if err != nil {
			return err
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		res, err := c.client.Do(req)
		if err != nil {
			return fmt.Errorf("agent's login: %w", err)
		}
		defer res.Body.Close()
		if res.StatusCode != http.StatusSeeOther {
			select { // not faster than a person, or she is locked out
			case <-ctx.Done():
			case <-time.After(15 * time.Second):
			}
			return fmt.Errorf("agent's login answered %s", res.Status)
		}
		return nil
	})
}

var (
	listed = regexp.MustCompile(`(?s)<a href="/agent/dossiers/(\d+)">.*?<span class="case-words">(.*?)</span>`)
	later  = regexp.MustCompile(`rel="next" href="/agent\?[^"]*page=(\d+)"`)
)

// list reads the list as far as she does not know it: the text of each report, by its
// number. New ones come first and push the others back, so that one may be seen on two
// pages; none is missed that was there before.
func (c *Clerk) list(ctx context.Context) error {
	for page := 0; page >= 0; {
		var body string
		if err := Patiently(ctx, func() (err error) {
			body, err = c.page(ctx, page)
			return err
		}); err != nil {
			return err
		}
		fresh := false
		for _, m := range listed.FindAllStringSubmatch(body, -1) {
			id, err := strconv.Atoi(m[1])
			if err != nil {
				return fmt.Errorf("number of a report: %w", err)
			}
			text := html.UnescapeString(m[2])
			if before, known := c.read[id]; known && before != text {
				return fmt.Errorf("report number %d is now %q, it was %q", id, text, before)
			} else if !known {
				c.read[id], fresh = text, true
			}
		}
		page = -1
		if m := later.FindStringSubmatch(body); m != nil && fresh {
			page, _ = strconv.Atoi(m[1]) // digits
		}
	}
	return nil
}

func (c *Clerk) page(ctx context.Context, page int) (string, error) {
	f := Filer{base: c.base, client: c.client}
	body, status, err := f.get(ctx, "/agent?page="+strconv.Itoa(page))
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("page %d of the agents' list answered %d: her session is not there", page, status)
	}
	return body, err
}

// Once holds the list against what was acknowledged: each acknowledged report is
// there exactly once, and none that was never acknowledged is there twice.
func Once(list map[int]string, reports []Report) error {
	first, errs := map[string]int{}, []error(nil)
	for id, text := range list {
		if other, ok := first[text]; ok && strings.HasPrefix(text, textPrefix) {
			errs = append(errs, fmt.Errorf("the report %q is there twice, as numbers %d and %d", text, min(id, other), max(id, other)))
		}
		first[text] = id
	}
	for _, r := range reports {
		if _, ok := first[r.Text]; !ok {
			errs = append(errs, fmt.Errorf("the report %q, acknowledged with the code %s, is not in the agents' list of %d", r.Text, r.Code, len(list)))
		}
	}
	return errors.Join(errs...)
}

// Audit has the clerk read what is new in the list, all of it at the first time, and
// holds everything that she has read against what was acknowledged; it returns how many
// reports the town has.
func (c *Clerk) Audit(ctx context.Context, f *Filer) (int, error) {
	reports := f.Taken() // before the list: what comes after may be missing in it
	if err := c.list(ctx); err != nil {
		return 0, err
	}
	return len(c.read), Once(c.read, reports)
}

// Forget makes the next audit one of the whole list.
func (c *Clerk) Forget() { clear(c.read) }
