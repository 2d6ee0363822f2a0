package console

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"time"

	"beffroi.dev/pkg/ident"
)

//go:embed templates
var templateFiles embed.FS

// sections of the live page, each redrawn by itself; every one is a template and
// the id of an element.
var sections = []string{"seen", "problems", "picture", "facts", "groups", "vms", "events"}

const (
	quiet      = 15 * time.Second // after which a stream says that it lives
	writeBound = 10 * time.Second // of one message to a browser
)

// views are the templates.
type views struct {
	all *template.Template
}

func loadViews() (*views, error) {
	t, err := template.ParseFS(templateFiles, "templates/*.html")
	if err != nil {
		return nil, fmt.Errorf("read templates: %w", err)
	}
	return &views{t}, nil
}

func (v *views) render(w http.ResponseWriter, status int, name string, data any) {
	var b bytes.Buffer
	if err := v.all.ExecuteTemplate(&b, name, data); err != nil {
		panic(err) // a template and its data do not fit: a fault of this package
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // a browser that is gone needs no page
}

// section draws one part of the live page.
func (v *views) section(name string, p page) (string, error) {
	var b bytes.Buffer
	err := v.all.ExecuteTemplate(&b, name, p)
	return b.String(), err
}

// reader finds the language: French, unless the reader has switched.
func (c *Console) reader(r *http.Request, who visitor) reader {
	lang := "fr"
	if k, err := r.Cookie("lang"); err == nil && k.Value == "en" {
		lang = "en"
	}
	return reader{Lang: lang, words: c.words, who: who, Path: r.URL.Path}
}

// switchLanguage answers a request that asks for another language.
func switchLanguage(w http.ResponseWriter, r *http.Request) bool {
	lang := r.URL.Query().Get("lang")
	if lang != "fr" && lang != "en" {
		return false
	}
	http.SetCookie(w, &http.Cookie{Name: "lang", Value: lang, Path: "/", MaxAge: 365 * 86400, HttpOnly: true, Secure: true, SameSite: http.SameSiteStrictMode})
	http.Redirect(w, r, r.URL.Path, http.StatusSeeOther)
	return true
}

func (c *Console) live(w http.ResponseWriter, r *http.Request) {
	if switchLanguage(w, r) {
		return
	}
	q := r.URL.Query()
	who, ok := c.visitor(r, q.Get("auto") == "") // a page that loads itself keeps no session alive
	if !ok {
		http.Redirect(w, r, "/login", http.StatusSeeOther)
		return
	}
	p := build(c.feed.now(), c.reader(r, who), c.cfg.Name, time.Now())
	if done, on := "act.done."+q.Get("done"), q.Get("on"); c.words.has(done) && ident.CheckName(on) == nil {
		p.Notice = p.T(done, on)
	}
	c.views.render(w, http.StatusOK, "live", p)
}

type loginPage struct {
	reader
	Node, Name, Problem string
}

func (c *Console) renderLogin(w http.ResponseWriter, r *http.Request, status int, name string, problem error) {
	if r.Method == http.MethodGet && switchLanguage(w, r) {
		return
	}
	p := loginPage{reader: c.reader(r, visitor{}), Node: c.cfg.Name, Name: name}
	if name == "-" {
		p.Name = ""
	}
	if problem != nil {
		key := problem.Error()
		if !c.words.has(key) {
			key = "login.failed"
		}
		p.Problem = p.T(key)
	}
	c.views.render(w, status, "login", p)
}

// stream sends the sections that changed, each time something is new, until the
// browser goes or its session ends.
func (c *Console) stream(w http.ResponseWriter, r *http.Request) {
	who, ok := c.visitor(r, false)
	if !ok {
		http.Error(w, "no session", http.StatusUnauthorized)
		return
	}
	select {
	case c.streams <- struct{}{}:
		defer func() { <-c.streams }()
	default:
		http.Error(w, "too many live pages", http.StatusServiceUnavailable)
		return
	}
	defer c.feed.watch()()
	w.Header().Set("Content-Type", "text/event-stream")
	out, read := http.NewResponseController(w), c.reader(r, who)
	last := map[string]string{}
	alive := time.NewTicker(quiet)
	defer alive.Stop()
	for {
		snap, changed := c.feed.next()
		if read.who, ok = c.visitor(r, false); !ok {
			_ = send(w, out, "event: end\ndata: {}\n\n")
			return
		}
		fresh, err := c.changes(last, build(snap, read, c.cfg.Name, time.Now()))
		if err != nil {
			c.log.Error("live page", "cause", err)
			return
		}
		if send(w, out, fresh) != nil {
			return // the browser is gone
		}
		select {
		case <-r.Context().Done():
			return
		case <-changed:
		case <-alive.C:
			if send(w, out, ": alive\n\n") != nil {
				return
			}
		}
	}
}

// changes is the message with the sections that differ from the last, which it
// updates; empty when none does.
func (c *Console) changes(last map[string]string, p page) (string, error) {
	fresh := map[string]string{}
	for _, name := range sections {
		html, err := c.views.section(name, p)
		if err != nil {
			return "", fmt.Errorf("section %s: %w", name, err)
		}
		if last[name] != html {
			last[name], fresh[name] = html, html
		}
	}
	if len(fresh) == 0 {
		return "", nil
	}
	b, err := json.Marshal(fresh)
	return "data: " + string(b) + "\n\n", err
}

func send(w http.ResponseWriter, out *http.ResponseController, message string) error {
	if message == "" {
		return nil
	}
	if err := out.SetWriteDeadline(time.Now().Add(writeBound)); err != nil {
		return err
	}
	if _, err := w.Write([]byte(message)); err != nil {
		return err
	}
	return out.Flush()
}
