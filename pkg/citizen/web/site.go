package web

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/json"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"beffroi.dev/pkg/citizen/agent"
	"beffroi.dev/pkg/citizen/casefile"
	"beffroi.dev/pkg/citizen/photo"
	"beffroi.dev/pkg/citizen/throttle"
	"beffroi.dev/pkg/clock"
)

//go:embed templates/*.html
var templates embed.FS

//go:embed assets
var assets embed.FS

// Services are what the site works with.
type Services struct {
	Cases  *casefile.Book
	Agents *agent.Register
	Photos *photo.Lab
}

// Site serves citizens and agents.
type Site struct {
	cfg     Config
	svc     Services
	role    func() casefile.Role
	clock   clock.Clock
	log     *slog.Logger
	zone    *time.Location
	words   catalogue
	pages   map[string]*template.Template
	assets  map[string]asset
	filings *throttle.Table
	guesses *throttle.Table
	mux     *http.ServeMux
}

// asset is one static file, with a name that changes with its content.
type asset struct {
	body []byte
	kind string
	tag  string
}

// New makes the site. The configuration must be valid.
func New(cfg Config, svc Services, role func() casefile.Role, clk clock.Clock, log *slog.Logger) (http.Handler, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("make site: %w", err)
	}
	cfg = cfg.withDefaults()
	for slug, d := range svc.Cases.Definitions() {
		if _, ok := cfg.Services[d.Service]; !ok {
			return nil, fmt.Errorf("make site: %s is answered by the service %q, which has no contact", slug, d.Service)
		}
	}
	s := &Site{cfg: cfg, svc: svc, role: role, clock: clk, log: log.With("room", "citizen/web"), mux: http.NewServeMux(), assets: map[string]asset{}}
	s.filings = throttle.New(cfg.FilingEvery, cfg.FilingBurst)
	s.guesses = throttle.New(10*time.Second, 20) // twenty wrong codes, then one in ten seconds: 63 bits take for ever
	var err error
	if s.zone, err = time.LoadLocation(cfg.Zone); err != nil {
		return nil, fmt.Errorf("make site: %w", err)
	}
	if s.words, err = loadWords(); err != nil {
		return nil, fmt.Errorf("make site: %w", err)
	}
	if err := s.loadAssets(); err != nil {
		return nil, fmt.Errorf("make site: %w", err)
	}
	if err := s.loadPages(); err != nil {
		return nil, fmt.Errorf("make site: %w", err)
	}
	s.routes()
	guard := http.NewCrossOriginProtection()
	guard.SetDenyHandler(s.visitHandler(func(v *visit) error { return errCrossOrigin }, free))
	return s.headers(guard.Handler(s.mux)), nil
}

func (s *Site) routes() {
	handle := func(pattern string, h func(*visit) error, rules ...rule) {
		s.mux.Handle(pattern, s.visitHandler(h, rules...))
	}
	s.mux.HandleFunc("GET /healthz", s.health)
	s.mux.HandleFunc("GET /static/{name}", s.static)
	handle("GET /{$}", (*visit).home, free)
	handle("GET /demarches/{slug}", (*visit).demarche, free)
	handle("GET /accessibilite", (*visit).accessibility, free)
	handle("GET /donnees-personnelles", (*visit).privacy, free)
	handle("GET /demarches/{slug}/formulaire", (*visit).form)
	handle("POST /demarches/{slug}/formulaire", (*visit).file)
	handle("GET /televersements/{ref}", (*visit).upload)
	handle("GET /suivi", (*visit).follow)
	handle("POST /suivi", (*visit).followCode)
	handle("GET /suivi/{code}", (*visit).track)
	handle("GET /suivi/{code}/recu", (*visit).receipt)
	handle("GET /suivi/{code}/photo/{field}", (*visit).citizenPhoto)
	handle("GET /agent/connexion", (*visit).loginForm)
	handle("POST /agent/connexion", (*visit).login)
	handle("POST /agent/deconnexion", (*visit).logout, agents)
	handle("GET /agent", (*visit).list, agents)
	handle("GET /agent/dossiers/{id}", (*visit).casePage, agents)
	handle("POST /agent/dossiers/{id}", (*visit).act, agents)
	handle("GET /agent/dossiers/{id}/photo/{field}", (*visit).agentPhoto, agents)
	handle("/", func(*visit) error { return errNoPage }, free)
}

func (s *Site) loadPages() error {
	s.pages = map[string]*template.Template{}
	names, err := templates.ReadDir("templates")
	if err != nil {
		return err
	}
	funcs := template.FuncMap{"pair": func(field, words string) fault { return fault{Field: field, Words: words} }}
	base, err := template.New("layout").Funcs(funcs).ParseFS(templates, "templates/layout.html", "templates/parts.html")
	if err != nil {
		return err
	}
	for _, f := range names {
		name := strings.TrimSuffix(f.Name(), ".html")
		if name == "layout" || name == "parts" {
			continue
		}
		clone, err := base.Clone()
		if err != nil {
			return err
		}
		if s.pages[name], err = clone.ParseFS(templates, "templates/"+f.Name()); err != nil {
			return err
		}
	}
	return nil
}

var assetKinds = map[string]string{
	"style.css": "text/css; charset=utf-8", "script.js": "text/javascript; charset=utf-8",
	"hyperlegible.woff2": "font/woff2", "icon.svg": "image/svg+xml",
}

func (s *Site) loadAssets() error {
	for _, name := range []string{"hyperlegible.woff2", "icon.svg", "script.js", "style.css"} { // the style names the font
		b, err := assets.ReadFile("assets/" + name)
		if err != nil {
			return err
		}
		if name == "style.css" || name == "icon.svg" {
			b = bytes.ReplaceAll(b, []byte(DefaultColour), []byte(s.cfg.Colour))
			b = bytes.ReplaceAll(b, []byte("hyperlegible.woff2"), []byte("hyperlegible.woff2?v="+s.assets["hyperlegible.woff2"].tag))
		}
		sum := sha256.Sum256(b)
		s.assets[name] = asset{b, assetKinds[name], fmt.Sprintf("%x", sum[:6])}
	}
	return nil
}

func (s *Site) static(w http.ResponseWriter, r *http.Request) {
	a, ok := s.assets[r.PathValue("name")]
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", a.kind)
	w.Header().Set("ETag", `"`+a.tag+`"`)
	w.Header().Set("Cache-Control", "public, max-age=86400")
	if r.URL.Query().Get("v") == a.tag {
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(a.body))
}

// health is for the appliance: 200 while this node serves, 503 otherwise.
func (s *Site) health(w http.ResponseWriter, _ *http.Request) {
	r := s.role()
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	if !r.Serving {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"serving": r.Serving, "copies": r.Copies, "epoch": r.Epoch, "reason": r.Reason})
}

// headers are the same on every answer.
func (s *Site) headers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'self'; font-src 'self'; img-src 'self' blob:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin") // a tracking code in an address goes nowhere else
		h.Set("Permissions-Policy", "camera=(), microphone=(), geolocation=()")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		if s.cfg.Secure {
			h.Set("Strict-Transport-Security", "max-age=31536000")
		}
		next.ServeHTTP(w, r)
	})
}
