package web_test

import (
	"bytes"
	"fmt"
	"image"
	"image/jpeg"
	"io"
	"log/slog"
	"mime/multipart"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"beffroi.dev/pkg/citizen/agent"
	"beffroi.dev/pkg/citizen/casefile"
	"beffroi.dev/pkg/citizen/photo"
	"beffroi.dev/pkg/citizen/procedure"
	"beffroi.dev/pkg/citizen/store"
	"beffroi.dev/pkg/citizen/web"
	"beffroi.dev/pkg/clock"
	"beffroi.dev/pkg/disk/simdisk"
)

const (
	formPath = "/demarches/signalement-voirie/formulaire"
	password = "un mot de passe assez long"
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

func config() web.Config {
	c := casefile.Contact{Name: "Service voirie", Address: "1 place de la Mairie", Phone: "01 02 03 04 05", Email: "voirie@ville.example"}
	return web.Config{Town: "Ville d'Essai", Contact: c, Services: map[string]casefile.Contact{"voirie": c}}
}

type hands struct {
	clock.System
	ahead atomic.Int64
}

func (h *hands) Wall() time.Time { return time.Now().Add(time.Duration(h.ahead.Load())) }

// rig is the site on a simulated disk, with a browser in front.
type rig struct {
	t      *testing.T
	disk   *simdisk.Disk
	st     *store.Store
	book   *casefile.Book
	role   atomic.Pointer[casefile.Role]
	clk    *hands
	secret string
	server *httptest.Server
	client *http.Client
}

func newRig(t *testing.T, change func(*web.Config)) *rig {
	t.Helper()
	r := &rig{t: t, disk: simdisk.New(32 << 20), clk: &hands{}}
	r.role.Store(&casefile.Role{Serving: true, Copies: 2, Epoch: 3})
	role := func() casefile.Role { return *r.role.Load() }
	defs, err := procedure.Shipped()
	must(t, err)
	must(t, store.Format(t.Context(), r.disk, store.Config{}, quiet))
	r.st, err = store.Open(t.Context(), r.disk, store.Config{RunDir: t.TempDir()}, quiet)
	must(t, err)
	t.Cleanup(func() { _ = r.st.Close() })
	r.book, err = casefile.Open(t.Context(), r.st, defs, role, r.clk, quiet)
	must(t, err)
	agents := agent.Open(r.st, r.clk, quiet)
	e, err := agents.Provision(t.Context(), agent.New{Name: "martin", Display: "Camille Martin", Password: password, Issuer: "Ville"})
	must(t, err)
	r.secret = e.Secret
	cfg := config()
	if change != nil {
		change(&cfg)
	}
	h, err := web.New(cfg, web.Services{Cases: r.book, Agents: agents, Photos: photo.NewLab()}, role, r.clk, quiet)
	must(t, err)
	r.server = httptest.NewServer(h)
	t.Cleanup(r.server.Close)
	jar, _ := cookiejar.New(nil)
	r.client = &http.Client{Jar: jar}
	return r
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// answer is a page as the browser ended up with it.
type answer struct {
	status int
	path   string
	header http.Header
	body   string
}

func (r *rig) do(q *http.Request) answer {
	r.t.Helper()
	resp, err := r.client.Do(q)
	must(r.t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	must(r.t, err)
	return answer{resp.StatusCode, resp.Request.URL.RequestURI(), resp.Header, string(b)}
}

func (r *rig) get(path string, header ...string) answer {
	r.t.Helper()
	q, err := http.NewRequest("GET", r.server.URL+path, nil)
	must(r.t, err)
	for i := 0; i+1 < len(header); i += 2 {
		q.Header.Set(header[i], header[i+1])
	}
	return r.do(q)
}

func (r *rig) post(path string, values url.Values) answer {
	r.t.Helper()
	q, err := http.NewRequest("POST", r.server.URL+path, strings.NewReader(values.Encode()))
	must(r.t, err)
	q.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return r.do(q)
}

// send posts the form as a browser does; file nil means none was chosen.
func (r *rig) send(token string, values map[string]string, file []byte) answer {
	r.t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for k, v := range values {
		must(r.t, w.WriteField(k, v))
	}
	part, err := w.CreateFormFile("photo", map[bool]string{true: "IMG 1.jpg", false: ""}[file != nil])
	must(r.t, err)
	_, _ = part.Write(file)
	must(r.t, w.Close())
	q, err := http.NewRequest("POST", r.server.URL+formPath+"?jeton="+token, &b)
	must(r.t, err)
	q.Header.Set("Content-Type", w.FormDataContentType())
	return r.do(q)
}

func good() map[string]string {
	return map[string]string{"categorie": "eclairage", "lieu": "12 rue de la Poste", "description": "Le lampadaire est éteint"}
}

func jpegOf(t testing.TB, w, h int) []byte {
	t.Helper()
	var b bytes.Buffer
	must(t, jpeg.Encode(&b, image.NewRGBA(image.Rect(0, 0, w, h)), nil))
	return b.Bytes()
}

var codePattern = regexp.MustCompile(`<strong translate="no">([0-9A-Z-]{16})</strong>`)

func (a answer) code(t testing.TB) string {
	t.Helper()
	m := codePattern.FindStringSubmatch(a.body)
	if m == nil {
		t.Fatalf("no tracking code in %d %s", a.status, a.path)
	}
	return m[1]
}

func (r *rig) login() answer {
	r.t.Helper()
	code, err := totp.GenerateCode(r.secret, r.clk.Wall())
	must(r.t, err)
	return r.post("/agent/connexion", url.Values{"nom": {"martin"}, "mot-de-passe": {password}, "code": {code}, "suite": {"/agent"}})
}

func (r *rig) cases() int {
	r.t.Helper()
	l, err := r.book.List(r.t.Context(), casefile.Filter{})
	must(r.t, err)
	return l.Total
}

func (a answer) want(t *testing.T, status int, parts ...string) {
	t.Helper()
	if a.status != status {
		t.Errorf("%s: status %d; want %d", a.path, a.status, status)
	}
	for _, p := range parts {
		if !strings.Contains(a.body, p) {
			t.Errorf("%s: does not say %q", a.path, p)
		}
	}
}

func casePath(id int64, token string) string {
	return fmt.Sprintf("/agent/dossiers/%d?jeton=%s", id, token)
}
