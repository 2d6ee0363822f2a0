package web_test

import (
	"bytes"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/pquerna/otp/totp"

	"beffroi.dev/pkg/citizen/casefile"
)

type withHeader struct{ key, value string }

func (h withHeader) RoundTrip(q *http.Request) (*http.Response, error) {
	q = q.Clone(q.Context())
	q.Header.Set(h.key, h.value)
	return http.DefaultTransport.RoundTrip(q)
}

type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func newRecorder() *recorder                        { return &recorder{header: http.Header{}} }
func (r *recorder) Header() http.Header             { return r.header }
func (r *recorder) WriteHeader(status int)          { r.status = status }
func (r *recorder) Write(p []byte) (n int, _ error) { return r.body.Write(p) }

func totpNow(t *testing.T, r *rig) string {
	t.Helper()
	code, err := totp.GenerateCode(r.secret, r.clk.Wall())
	must(t, err)
	return code
}

// anyCode makes a well-formed code of no case, as a guesser would.
func anyCode(t *testing.T) string {
	t.Helper()
	const alphabet = "23456789ABCDEFGHJKMNPQRTVWXYZ"
	head := strings.ToUpper(strings.NewReplacer("i", "2", "l", "3", "o", "4", "s", "5", "u", "6").Replace(casefile.NewToken()[:13]))
	for _, last := range alphabet {
		if c, err := casefile.ParseCode(head + string(last)); err == nil {
			return string(c)
		}
	}
	t.Fatal("no check symbol fits")
	return ""
}

var (
	idPattern    = regexp.MustCompile(`\sid="([^"]+)"`)
	forPattern   = regexp.MustCompile(`\sfor="([^"]+)"`)
	refPattern   = regexp.MustCompile(`\s(?:aria-describedby|aria-labelledby)="([^"]+)"`)
	fieldPattern = regexp.MustCompile(`<(input|textarea|select)\b[^>]*>`)
	imgPattern   = regexp.MustCompile(`<img\b[^>]*>`)
	h1Pattern    = regexp.MustCompile(`<h1[ >]`)
	hPattern     = regexp.MustCompile(`<h([1-6])[ >]`)
	inline       = regexp.MustCompile(`\s(style|on[a-z]+)="|<style|<script>|javascript:`)
	anchor       = regexp.MustCompile(`href="#([^"]+)"`)
)

// checkPage holds every page to the rules that a machine can see.
func checkPage(t *testing.T, lang string, a answer) {
	t.Helper()
	bad := func(format string, args ...any) {
		t.Helper()
		t.Errorf("%s (%s): "+format, append([]any{a.path, lang}, args...)...)
	}
	ids := map[string]bool{}
	for _, m := range idPattern.FindAllStringSubmatch(a.body, -1) {
		if ids[m[1]] {
			bad("id %s is there twice", m[1])
		}
		ids[m[1]] = true
	}
	labelled := map[string]bool{}
	for _, m := range forPattern.FindAllStringSubmatch(a.body, -1) {
		if labelled[m[1]] = true; !ids[m[1]] {
			bad("a label for %s, which is not there", m[1])
		}
	}
	for _, m := range append(refPattern.FindAllStringSubmatch(a.body, -1), anchor.FindAllStringSubmatch(a.body, -1)...) {
		for _, id := range strings.Fields(m[1]) {
			if !ids[id] {
				bad("points to %s, which is not there", id)
			}
		}
	}
	for _, f := range fieldPattern.FindAllString(a.body, -1) {
		id := idPattern.FindStringSubmatch(f)
		if !strings.Contains(f, `type="hidden"`) && (id == nil || !labelled[id[1]]) {
			bad("a field without label: %s", f)
		}
	}
	for _, img := range imgPattern.FindAllString(a.body, -1) {
		if !strings.Contains(img, " alt=") || !strings.Contains(img, " width=") {
			bad("an image without text or size: %s", img)
		}
	}
	if n := len(h1Pattern.FindAllString(a.body, -1)); n != 1 {
		bad("%d main headings", n)
	}
	last := 1
	for _, m := range hPattern.FindAllStringSubmatch(a.body[strings.Index(a.body, "<h1"):], -1) {
		level := int(m[1][0] - '0')
		if level > last+1 {
			bad("heading of level %d after level %d", level, last)
		}
		last = level
	}
	for _, want := range []string{`<html lang="` + lang + `">`, `name="viewport"`, `class="skip" href="#contenu"`, "<title>", "</html>"} {
		if !strings.Contains(a.body, want) {
			bad("lacks %s", want)
		}
	}
	if m := inline.FindString(a.body); m != "" {
		bad("has %q, which the security policy forbids", m)
	}
	if !strings.Contains(a.header.Get("Content-Security-Policy"), "script-src 'self'") || strings.Contains(a.header.Get("Content-Security-Policy"), "unsafe") {
		bad("security policy %q", a.header.Get("Content-Security-Policy"))
	}
	if a.header.Get("Cache-Control") != "no-store" {
		bad("may be cached: %q", a.header.Get("Cache-Control"))
	}
}

func TestEveryPageInEveryLanguageIsWellMade(t *testing.T) {
	for _, lang := range []string{"fr", "en"} {
		r := newRig(t, nil)
		r.get("/?lang=" + lang)
		v := good()
		v["categorie"] = "danger"
		receipt := r.send(casefile.NewToken(), v, jpegOf(t, 30, 20))
		code := receipt.code(t)
		wrong := r.send(casefile.NewToken(), map[string]string{"contact": "x"}, jpegOf(t, 30, 20))
		pages := []answer{receipt, wrong, r.post("/suivi", nil), r.get("/agent/connexion"), r.get("/nulle-part")}
		pages = append(pages, r.post("/agent/connexion", url.Values{"nom": {"x"}}))
		for _, p := range []string{"/", "/demarches/signalement-voirie", formPath, "/suivi", "/suivi/" + code, "/accessibilite", "/donnees-personnelles"} {
			pages = append(pages, r.get(p))
		}
		pages = append(pages, r.login(), r.get("/agent/dossiers/1"), r.get("/agent?mots=rien"))
		for _, kind := range []string{"answered", "noted", "closed"} {
			pages = append(pages,
				r.post(casePath(1, casefile.NewToken()), url.Values{"acte": {kind}, "texte": {""}, "motif": {"done"}}),
				r.post(casePath(1, casefile.NewToken()), url.Values{"acte": {kind}, "texte": {"Bonjour <b>vous</b>"}, "motif": {"done"}}))
		}
		pages = append(pages, r.get("/suivi/"+code))
		r.role.Store(&casefile.Role{})
		pages = append(pages, r.get("/suivi"))
		for _, p := range pages {
			checkPage(t, lang, p)
		}
		if strings.Contains(pages[len(pages)-2].body, "<b>vous</b>") {
			t.Error("what an agent typed reached the page as HTML")
		}
	}
}

func TestTheScriptStaysSmall(t *testing.T) {
	r := newRig(t, nil)
	src := regexp.MustCompile(`src="(/static/script.js\?v=[0-9a-f]+)"`).FindStringSubmatch(r.get("/").body)
	got := r.get(src[1])
	if got.status != 200 || len(got.body) > 15<<10 || !strings.Contains(got.header.Get("Cache-Control"), "immutable") {
		t.Errorf("script: %d, %d bytes, %q", got.status, len(got.body), got.header.Get("Cache-Control"))
	}
	css := r.get("/static/style.css").body
	if !strings.Contains(css, "hyperlegible.woff2?v=") || strings.Contains(css, "//") && strings.Contains(css, "http") {
		t.Error("the style loads from elsewhere, or an unversioned font")
	}
}
