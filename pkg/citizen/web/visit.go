package web

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"beffroi.dev/pkg/citizen/agent"
	"beffroi.dev/pkg/citizen/casefile"
	"beffroi.dev/pkg/citizen/store"
	"beffroi.dev/pkg/citizen/throttle"
	"beffroi.dev/pkg/disk"
)

// rule changes how a page is reached.
type rule int

const (
	free   rule = iota + 1 // needs no store: shown on any node, at any time
	agents                 // needs a session
)

// RetryHeader tells a proxy, on a 503, what became of the request.
const RetryHeader = "Beffroi-Retry"

// The values of RetryHeader.
const (
	RetryRefused = "refused" // nothing was begun: any request may be sent again
	RetryUnknown = "unknown" // it may have happened: send again only what happens once
)

// retrySeconds is what a person's browser is told to wait; a switch is faster.
const retrySeconds = 3

var (
	errNoPage      = errors.New("no such page")
	errCrossOrigin = errors.New("posted from another site")
	errTooOften    = errors.New("too often")
	errBadForm     = errors.New("the form cannot be read")
)

// visit is one request and the answer that is made for it in memory.
type visit struct {
	*http.Request
	site  *Site
	lang  string
	agent agent.Agent

	status int
	header http.Header
	body   bytes.Buffer
}

// visitHandler makes the answer whole, and sends it only if this node serves
// before and after.
func (s *Site) visitHandler(h func(*visit) error, rules ...rule) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v := &visit{Request: r, site: s, status: http.StatusOK, header: http.Header{}}
		v.chooseLanguage()
		if v.status == http.StatusSeeOther { // the language was switched
			v.send(w)
			return
		}
		needsStore := !slices.Contains(rules, free)
		before := s.role()
		if needsStore && !before.Serving {
			v.unavailable(RetryRefused)
			v.send(w)
			return
		}
		err := v.run(h, slices.Contains(rules, agents))
		if err != nil {
			v.fail(err)
		}
		if needsStore && !s.role().Serving {
			s.log.Warn("answer withheld", "method", r.Method, "cause", "this node stopped serving")
			v.reset()
			v.unavailable(RetryUnknown)
		}
		v.send(w)
	})
}

// run calls the page, and turns a panic into an error of this request.
func (v *visit) run(h func(*visit) error, needsAgent bool) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	if needsAgent {
		if err := v.identify(); err != nil {
			if errors.Is(err, agent.ErrSession) {
				return v.askLogin()
			}
			return err
		}
	}
	return h(v)
}

func (v *visit) reset() {
	v.status, v.header = http.StatusOK, http.Header{}
	v.body.Reset()
}

func (v *visit) send(w http.ResponseWriter) {
	for k, values := range v.header {
		w.Header()[k] = values
	}
	if w.Header().Get("Cache-Control") == "" {
		w.Header().Set("Cache-Control", "no-store")
	}
	w.Header().Add("Vary", "Accept-Language, Cookie")
	w.Header().Set("Content-Length", strconv.Itoa(v.body.Len()))
	w.WriteHeader(v.status)
	if v.Method != http.MethodHead {
		_, _ = w.Write(v.body.Bytes()) // the browser may be gone; there is nobody to tell
	}
}

func (v *visit) redirect(to string) error {
	v.status = http.StatusSeeOther
	v.header.Set("Location", to)
	return nil
}

// bytes answers with a file. It may be kept by the browser of who may see it.
func (v *visit) bytes(kind string, b []byte) error {
	v.header.Set("Content-Type", kind)
	v.header.Set("Cache-Control", "private, max-age=3600")
	_, _ = v.body.Write(b)
	return nil
}

// fail turns an error into a page that says what happened, what it means and
// what to do. Only what is not the citizen's doing is logged.
func (v *visit) fail(err error) {
	v.reset()
	switch {
	case errors.Is(err, casefile.ErrNotServing):
		v.unavailable(RetryUnknown)
	case errors.Is(err, disk.ErrFailed), errors.Is(err, disk.ErrClosed), errors.Is(err, disk.ErrTimeout):
		v.site.log.Error("page failed", "path", v.Pattern, "err", err)
		v.unavailable(RetryUnknown)
	case errors.Is(err, disk.ErrNoSpace):
		v.site.log.Error("page failed", "path", v.Pattern, "err", err)
		v.problem(http.StatusInsufficientStorage, "full")
	case errors.Is(err, errNoPage), errors.Is(err, casefile.ErrNotFound), errors.Is(err, casefile.ErrProcedure),
		errors.Is(err, casefile.ErrUpload), errors.Is(err, store.ErrNoBlob):
		v.problem(http.StatusNotFound, "404")
	case errors.Is(err, errTooOften), errors.Is(err, agent.ErrTooMany):
		v.header.Set("Retry-After", "60")
		v.problem(http.StatusTooManyRequests, "429")
	case errors.Is(err, errCrossOrigin):
		v.problem(http.StatusForbidden, "403")
	case errors.Is(err, errBadForm), errors.Is(err, casefile.ErrToken):
		v.problem(http.StatusBadRequest, "400")
	default:
		v.site.log.LogAttrs(v.Context(), slog.LevelError, "page failed", slog.String("path", v.Pattern), slog.Any("err", err))
		v.problem(http.StatusInternalServerError, "500")
	}
}

func (v *visit) unavailable(retry string) {
	v.header.Set("Retry-After", strconv.Itoa(retrySeconds))
	v.header.Set(RetryHeader, retry)
	v.problem(http.StatusServiceUnavailable, "503")
}

func (v *visit) problem(status int, name string) {
	v.status = status
	data := problemPage{Name: name, Home: v.Method == http.MethodGet}
	if err := v.page("problem", "problem."+name+".title", data); err != nil {
		v.site.log.Error("page failed", "path", v.Pattern, "err", err)
		_, _ = v.body.WriteString(http.StatusText(status)) // the last resort, without template
	}
}

type problemPage struct {
	Name string
	Home bool
}

// address is who asks, as a key for limits.
func (v *visit) address() string {
	ap, err := netip.ParseAddrPort(v.RemoteAddr)
	if err != nil {
		return "unknown"
	}
	a := ap.Addr().Unmap()
	trusted := func(a netip.Addr) bool {
		return slices.ContainsFunc(v.site.cfg.TrustedProxies, func(p netip.Prefix) bool { return p.Contains(a) })
	}
	hops := strings.Split(strings.Join(v.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0 && trusted(a); i-- { // the last hop that no proxy of ours added
		next, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			break
		}
		a = next.Unmap()
	}
	return throttle.Address(a)
}

func (v *visit) now() time.Time { return v.site.clock.Wall() }

// chooseLanguage takes the language from the switch, the cookie or the browser.
func (v *visit) chooseLanguage() {
	v.lang = "fr"
	if c, err := v.Cookie("lang"); err == nil && known(c.Value) {
		v.lang = c.Value
	} else {
		v.lang = accepted(v.Header.Get("Accept-Language"))
	}
	q := v.URL.Query()
	want := q.Get("lang")
	if !known(want) {
		return
	}
	v.lang = want
	if v.Method != http.MethodGet {
		return
	}
	q.Del("lang")
	back := url.URL{Path: v.URL.Path, RawQuery: q.Encode()}
	c := http.Cookie{Name: "lang", Value: want, Path: "/", MaxAge: 365 * 24 * 3600, HttpOnly: true, Secure: v.site.cfg.Secure, SameSite: http.SameSiteLaxMode}
	v.header.Add("Set-Cookie", c.String())
	// One leading slash only: two would name another host.
	back.Path = "/" + strings.TrimLeft(back.Path, "/")
	_ = v.redirect(back.String())
}
