package web_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"beffroi.dev/pkg/citizen/casefile"
	"beffroi.dev/pkg/citizen/web"
)

var tokenPattern = regexp.MustCompile(`formulaire\?jeton=([a-z2-7]{26})"`)

func TestACitizenFilesAndFollows(t *testing.T) {
	r := newRig(t, nil)
	r.get("/").want(t, 200, "Vos démarches", "112")
	form := r.get(formPath)
	token := tokenPattern.FindStringSubmatch(form.body)[1]
	got := r.send(token, good(), jpegOf(t, 40, 30))
	got.want(t, 200, "Enregistré sur les deux sites", "Accusé de réception électronique", "Service voirie", "01 02 03 04 05", "voirie@ville.example",
		"R112-11-1", "ne vaut ni acceptation ni refus", "Recours", "<svg class=\"qr\"", "Jointe")
	code := got.code(t)
	again := r.send(token, good(), nil)
	if again.code(t) != code || r.cases() != 1 {
		t.Errorf("the same form again: %s, %d cases; want %s and one", again.code(t), r.cases(), code)
	}
	r.post("/suivi", url.Values{"code": {strings.ToLower(strings.ReplaceAll(code, "-", " "))}}).want(t, 200, "Votre dossier", "Reçu", "12 rue de la Poste")
	photo := r.get("/suivi/" + code + "/photo/photo")
	if photo.status != 200 || photo.header.Get("Content-Type") != "image/jpeg" {
		t.Errorf("photo: %d %s", photo.status, photo.header.Get("Content-Type"))
	}
}

func TestAWrongFormComesBackWithEverything(t *testing.T) {
	r := newRig(t, nil)
	token := casefile.NewToken()
	v := good()
	v["description"], v["contact"] = "court", "06 01 02 03 04"
	got := r.send(token, v, jpegOf(t, 40, 30))
	got.want(t, 422, `value="12 rue de la Poste"`, ">court</textarea>", `value="eclairage" checked`, `value="06 01 02 03 04"`,
		`href="#c-description"`, `id="e-description"`, `aria-describedby="e-description h-description"`, "au moins 8", "<title>Erreur", "jeton="+token)
	ref := regexp.MustCompile(`name="photo-gardee" value="([a-z2-7]+)"`).FindStringSubmatch(got.body)
	if ref == nil {
		t.Fatal("the photo was not kept")
	}
	if up := r.get("/televersements/" + ref[1]); up.status != 200 || up.header.Get("Content-Type") != "image/jpeg" {
		t.Errorf("kept photo: %d", up.status)
	}
	v["description"], v["photo-gardee"] = "Assez long maintenant", ref[1]
	done := r.send(token, v, nil)
	done.want(t, 200, "Jointe")
	if r.cases() != 1 {
		t.Errorf("%d cases", r.cases())
	}
}

func TestAPhotoMayBeRemovedAgain(t *testing.T) {
	r := newRig(t, nil)
	v := good()
	v["lieu"] = ""
	got := r.send(casefile.NewToken(), v, jpegOf(t, 40, 30))
	v["photo-gardee"] = regexp.MustCompile(`name="photo-gardee" value="([a-z2-7]+)"`).FindStringSubmatch(got.body)[1]
	v["lieu"], v["photo-retirer"] = "12 rue de la Poste", "1"
	if done := r.send(casefile.NewToken(), v, nil); strings.Contains(done.body, "Jointe") || done.status != 200 {
		t.Errorf("%d, photo still there", done.status)
	}
}

func TestRefusedPhotosLoseNothingTyped(t *testing.T) {
	r := newRig(t, nil)
	for _, tc := range map[string]struct {
		file []byte
		say  string
	}{
		"not an image": {[]byte("%PDF-1.7"), "est pas une photo JPEG ou PNG"},
		"damaged":      {jpegOf(t, 300, 300)[:400], "abîmée"},
		"too large":    {make([]byte, 11<<20), "dépasse 10 Mo"},
	} {
		got := r.send(casefile.NewToken(), good(), tc.file)
		got.want(t, 422, `value="12 rue de la Poste"`, "Le lampadaire est éteint", `value="eclairage" checked`, `id="e-photo"`, tc.say)
	}
	if r.cases() != 0 {
		t.Error("a refused photo was filed")
	}
}

func TestNoAcknowledgmentWhenServingEnds(t *testing.T) {
	r := newRig(t, nil)
	token := casefile.NewToken()
	r.role.Store(&casefile.Role{Reason: "bascule"})
	got := r.send(token, good(), nil)
	got.want(t, 503, "change de site", "une seule fois")
	if got.header.Get("Retry-After") == "" || got.header.Get(web.RetryHeader) != web.RetryRefused {
		t.Errorf("headers %v", got.header)
	}
	r.get("/").want(t, 200) // what needs no store is shown anywhere
	r.role.Store(&casefile.Role{Serving: true, Copies: 1, Epoch: 4})
	r.send(token, good(), nil).want(t, 200, "Enregistré sur un seul site pour l&#39;instant", "copié automatiquement")
	if r.cases() != 1 {
		t.Errorf("%d cases", r.cases())
	}
}

func TestAPageMadeWhileServingEndedIsWithheld(t *testing.T) {
	r := newRig(t, nil)
	calls := 0
	h, err := web.New(config(), web.Services{Cases: r.book}, func() casefile.Role {
		calls++
		return casefile.Role{Serving: calls < 2, Copies: 2, Epoch: 1}
	}, r.clk, quiet)
	must(t, err)
	rec := newRecorder()
	q, _ := http.NewRequest("GET", "/suivi", nil)
	h.ServeHTTP(rec, q)
	if rec.status != 503 || rec.header.Get(web.RetryHeader) != web.RetryUnknown || strings.Contains(rec.body.String(), "Code perdu") {
		t.Errorf("status %d, %q", rec.status, rec.header.Get(web.RetryHeader))
	}
}

func TestAnAgentAnswersAndCloses(t *testing.T) {
	r := newRig(t, nil)
	code := r.send(casefile.NewToken(), good(), nil).code(t)
	if got := r.get("/agent"); got.path != "/agent/connexion?suite=%2Fagent" {
		t.Errorf("without login: %s", got.path)
	}
	r.login().want(t, 200, "12 rue de la Poste", "Résultats")
	r.get("/agent?mots=POSTE&etat=filed&categorie=eclairage").want(t, 200, "12 rue de la Poste")
	r.get("/agent?mots=introuvable").want(t, 200, "Aucun dossier ne correspond")
	if page := r.get("/agent/dossiers/1"); strings.Contains(page.body, code) {
		t.Error("the agent's page shows the tracking code")
	}
	act := func(kind, words, why string) answer {
		return r.post(casePath(1, casefile.NewToken()), url.Values{"acte": {kind}, "texte": {words}, "motif": {why}})
	}
	act("answered", " ", "").want(t, 422, "Écrivez le texte")
	act("answered", "Une équipe passe jeudi.", "").want(t, 200, "Réponse envoyée")
	act("noted", "client difficile", "").want(t, 200, "Note ajoutée")
	act("closed", "C'est réparé.", "done").want(t, 200, "Dossier clos")
	act("closed", "encore", "done").want(t, 422, "a changé entre-temps")
	act("destroyed", "x", "").want(t, 400)
	seen := r.get("/suivi/" + code)
	seen.want(t, 200, "Une équipe passe jeudi.", "réparé", "Réparé ou traité", "Clos")
	if strings.Contains(seen.body, "client difficile") {
		t.Error("the citizen sees the internal note")
	}
	act("reopened", "", "").want(t, 200, "Dossier rouvert")
	r.post("/agent/deconnexion", nil).want(t, 200)
	if got := r.get("/agent/dossiers/1"); !strings.HasPrefix(got.path, "/agent/connexion") {
		t.Errorf("after logging out: %s", got.path)
	}
}

func TestWordsSurviveAnEndedSession(t *testing.T) {
	r := newRig(t, nil)
	r.send(casefile.NewToken(), good(), nil)
	r.login()
	r.clk.ahead.Store(int64(3 * time.Hour))
	got := r.post(casePath(1, casefile.NewToken()), url.Values{"acte": {"answered"}, "texte": {"Une longue réponse"}})
	got.want(t, 401, "Votre session est terminée", `name="garde-texte" value="Une longue réponse"`)
	v := url.Values{"garde-dossier": {"1"}, "garde-acte": {"answered"}, "garde-texte": {"Une longue réponse"}, "nom": {"martin"}, "mot-de-passe": {password}, "code": {totpNow(t, r)}}
	r.post("/agent/connexion", v).want(t, 200, "Une longue réponse</textarea>", "reconnecté")
}

func TestCodesCannotBeTriedWithoutEnd(t *testing.T) {
	r := newRig(t, nil)
	for n := range 25 {
		got := r.post("/suivi", url.Values{"code": {anyCode(t)}})
		if want := map[bool]int{true: 422, false: 429}[n < 20]; got.status != want {
			t.Fatalf("guess %d: %d; want %d", n+1, got.status, want)
		}
	}
}

func TestOneAddressCannotFileWithoutEnd(t *testing.T) {
	r := newRig(t, func(c *web.Config) { c.FilingBurst, c.FilingEvery = 3, time.Hour })
	token := casefile.NewToken()
	for range 5 { // the same form again does not count
		r.send(token, good(), nil).want(t, 200)
	}
	for range 2 {
		r.send(casefile.NewToken(), good(), nil).want(t, 200)
	}
	r.send(casefile.NewToken(), good(), nil).want(t, 429, "Trop d&#39;essais", "n&#39;a pas été enregistré")
}

func TestTheTwinMaySayOnWhoseBehalfItAsks(t *testing.T) {
	for _, trusted := range []bool{true, false} {
		r := newRig(t, func(c *web.Config) {
			c.FilingBurst, c.FilingEvery = 1, time.Hour
			if trusted {
				c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
			}
		})
		for i, from := range []string{"192.0.2.1", "198.51.100.7, 192.0.2.2"} {
			r.client.Transport = withHeader{"X-Forwarded-For", from}
			got := r.send(casefile.NewToken(), good(), nil)
			if want := map[bool]int{true: 200, false: 429}[trusted || i == 0]; got.status != want {
				t.Errorf("trusted %v, from %s: %d; want %d", trusted, from, got.status, want)
			}
		}
	}
}

func TestPostsFromOtherSitesAreRefused(t *testing.T) {
	r := newRig(t, nil)
	for _, h := range []withHeader{{"Sec-Fetch-Site", "cross-site"}, {"Origin", "https://evil.example"}} {
		r.client.Transport = h
		r.send(casefile.NewToken(), good(), nil).want(t, 403, "autre site")
	}
	if r.cases() != 0 {
		t.Error("it was filed")
	}
}

func TestBadRequestsGetAPageNotACrash(t *testing.T) {
	r := newRig(t, nil)
	for _, tc := range []struct {
		name   string
		got    answer
		status int
	}{
		{"a page that is not there", r.get("/nulle/part"), 404},
		{"an unknown démarche", r.get("/demarches/licorne"), 404},
		{"a code that is none", r.get("/suivi/ABC"), 404},
		{"an upload that is none", r.get("/televersements/abc"), 404},
		{"a form without token", r.send("", good(), nil), 400},
		{"a form of the wrong kind", r.postAs("application/json", "{}"), 400},
		{"a form without kind", r.postAs("", "x"), 400},
		{"a form cut short", r.postAs("multipart/form-data; boundary=x", "--x\r\nContent-Disposition: form-data; name=\"lieu\"\r\n\r\nrue"), 400},
		{"a form of endless text", r.postAs("application/x-www-form-urlencoded", "lieu="+strings.Repeat("a", 70<<10)), 400},
		{"a form of endless parts", r.postAs("multipart/form-data; boundary=x", strings.Repeat("--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n", 200)+"--x--"), 400},
		{"a static file that is not there", r.get("/static/passwd"), 404},
		{"an odd list page", r.get("/agent?page=-9999999999999999999"), 200},
	} {
		tc.got.want(t, tc.status)
	}
	if got := r.get("//evil.example/x?lang=en"); strings.Contains(got.path, "evil.example/x") && got.status < 400 {
		t.Errorf("redirected to %s", got.path)
	}
}

func (r *rig) postAs(kind, body string) answer {
	r.t.Helper()
	q, err := http.NewRequest("POST", r.server.URL+formPath+"?jeton="+casefile.NewToken(), strings.NewReader(body))
	must(r.t, err)
	if kind != "" {
		q.Header.Set("Content-Type", kind)
	}
	return r.do(q)
}

func TestHealthTellsTheRole(t *testing.T) {
	r := newRig(t, nil)
	for _, role := range []casefile.Role{{Serving: true, Copies: 2, Epoch: 9}, {Copies: 1, Epoch: 10, Reason: "bascule"}} {
		r.role.Store(&role)
		got := r.get("/healthz")
		var h struct {
			Serving bool
			Copies  int
			Epoch   uint64
			Reason  string
		}
		if err := json.Unmarshal([]byte(got.body), &h); err != nil || h.Serving != role.Serving || h.Copies != role.Copies || h.Epoch != role.Epoch || h.Reason != role.Reason {
			t.Errorf("got %s, %v; want %+v", got.body, err, role)
		}
		if (got.status == 200) != role.Serving {
			t.Errorf("status %d while serving is %v", got.status, role.Serving)
		}
	}
}

func TestAFailedVolumeAsksToTryAgain(t *testing.T) {
	r := newRig(t, nil)
	r.disk.FailAfter(0)
	got := r.send(casefile.NewToken(), good(), nil)
	got.want(t, 503, "change de site")
	if got.header.Get(web.RetryHeader) != web.RetryUnknown {
		t.Errorf("retry %q", got.header.Get(web.RetryHeader))
	}
}

func TestTheLanguageIsKept(t *testing.T) {
	r := newRig(t, nil)
	r.get("/suivi", "Accept-Language", "en-GB").want(t, 200, `<html lang="en">`, "Follow a case")
	got := r.get("/demarches/signalement-voirie/formulaire?categorie=eau&lang=en")
	got.want(t, 200, "Where is it?", `value="eau" checked`)
	if got.path != formPath+"?categorie=eau" {
		t.Errorf("ended at %s", got.path)
	}
	r.get("/").want(t, 200, "Your procedures")
	r.get("/?lang=fr").want(t, 200, "Vos démarches")
}

func TestTheConfigurationIsChecked(t *testing.T) {
	if err := config().Validate(); err != nil {
		t.Error(err)
	}
	bad := web.Config{Colour: "#ffee00", Zone: "Mars/Olympus", PublicURL: "mairie", Services: map[string]casefile.Contact{"voirie": {Name: "x"}}}
	err := bad.Validate()
	for _, want := range []string{"town", "contact of the town hall", "service voirie", "contrast", "zone", "public URL"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not name %q", err, want)
		}
	}
	if _, err := web.New(web.Config{}, web.Services{}, nil, nil, quiet); err == nil || errors.Is(err, http.ErrAbortHandler) {
		t.Error("an empty configuration was accepted")
	}
}
