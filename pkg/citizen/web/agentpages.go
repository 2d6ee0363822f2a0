package web

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"beffroi.dev/pkg/citizen/agent"
	"beffroi.dev/pkg/citizen/casefile"
	"beffroi.dev/pkg/citizen/procedure"
)

func (s *Site) sessionCookie() string {
	if s.cfg.Secure {
		return "__Host-agent"
	}
	return "agent"
}

// identify finds the agent of the session.
func (v *visit) identify() error {
	c, err := v.Cookie(v.site.sessionCookie())
	if err != nil {
		return agent.ErrSession
	}
	v.agent, err = v.site.svc.Agents.Session(v.Context(), c.Value)
	return err
}

func (v *visit) setSession(token string, life int) {
	c := http.Cookie{Name: v.site.sessionCookie(), Value: token, Path: "/", MaxAge: life, HttpOnly: true, Secure: v.site.cfg.Secure, SameSite: http.SameSiteStrictMode}
	v.header.Add("Set-Cookie", c.String())
}

// loginPage also carries an act that met an ended session, so that what the
// agent wrote is there again after the login.
type loginPage struct {
	Name  string
	Fault string
	Next  string
	Held  *held
}

// held is an act that waits for its agent.
type held struct{ Case, Kind, Words, Why string }

// next keeps a wish to go on to agents' pages of this site.
func next(path string) string {
	u, err := url.Parse(path)
	if err != nil || u.Host != "" || u.Scheme != "" || len(path) > 200 || u.Path != "/agent" && !strings.HasPrefix(u.Path, "/agent/dossiers/") {
		return "/agent"
	}
	return u.RequestURI()
}

func (v *visit) loginForm() error {
	if v.identify() == nil {
		return v.redirect("/agent")
	}
	return v.showLogin(http.StatusOK, loginPage{Next: next(v.URL.Query().Get("suite"))})
}

func (v *visit) showLogin(status int, p loginPage) error {
	v.status = status
	return v.render(&page{site: v.site, visit: v, Name: "login", Lang: v.lang, Title: v.site.words.say(v.lang, "login.title"), Wrong: p.Fault != "", Data: p})
}

// askLogin answers a page that needs a session.
func (v *visit) askLogin() error {
	if v.Method != http.MethodPost || v.PathValue("id") == "" {
		return v.redirect("/agent/connexion?suite=" + url.QueryEscape(v.URL.RequestURI()))
	}
	in, err := v.readForm("")
	if err != nil {
		return err
	}
	g := in.values.Get
	return v.showLogin(http.StatusUnauthorized, loginPage{
		Next: next(v.URL.Path), Fault: v.site.words.say(v.lang, "login.ended"),
		Held: &held{v.PathValue("id"), g("acte"), g("texte"), g("motif")},
	})
}

func (v *visit) login() error {
	in, err := v.readForm("")
	if err != nil {
		return err
	}
	g := in.values.Get
	p := loginPage{Name: g("nom"), Next: next(g("suite"))}
	if g("garde-dossier") != "" {
		p.Held = &held{g("garde-dossier"), g("garde-acte"), g("garde-texte"), g("garde-motif")}
	}
	token, err := v.site.svc.Agents.Login(v.Context(), agent.Login{Name: p.Name, Password: g("mot-de-passe"), Code: g("code"), Address: v.address()})
	switch {
	case errors.Is(err, agent.ErrTooMany):
		p.Fault = v.site.words.say(v.lang, "login.often")
		return v.showLogin(http.StatusTooManyRequests, p)
	case errors.Is(err, agent.ErrLogin):
		p.Fault = v.site.words.say(v.lang, "login.wrong")
		return v.showLogin(http.StatusUnprocessableEntity, p)
	case err != nil:
		return err
	}
	v.setSession(token, 0)
	if p.Held == nil {
		return v.redirect(p.Next)
	}
	if v.agent, err = v.site.svc.Agents.Session(v.Context(), token); err != nil {
		return err
	}
	id, err := strconv.ParseInt(p.Held.Case, 10, 64)
	if err != nil {
		return casefile.ErrNotFound
	}
	return v.showCase(id, p.Held, v.site.words.say(v.lang, "case.held"), "")
}

func (v *visit) logout() error {
	c, err := v.Cookie(v.site.sessionCookie())
	if err != nil {
		return v.redirect("/")
	}
	if err := v.site.svc.Agents.Logout(v.Context(), v.agent, c.Value); err != nil {
		return err
	}
	v.setSession("", -1)
	return v.redirect("/")
}

// listPage is the agents' list.
type listPage struct {
	casefile.List
	Filter     casefile.Filter
	Categories []procedure.Option
	Defs       map[string]*procedure.Definition
	All        int
}

// States lists the tabs.
func (l listPage) States() []casefile.State { return casefile.States }

// Pages tells how many pages there are.
func (l listPage) Pages() int { return (l.Total + casefile.PageSize - 1) / casefile.PageSize }

// With is the address of the list with another state or page.
func (l listPage) With(state casefile.State, page int) string {
	q := url.Values{}
	for k, s := range map[string]string{"etat": string(state), "categorie": l.Filter.Category, "mots": l.Filter.Words} {
		if s != "" {
			q.Set(k, s)
		}
	}
	if page > 0 {
		q.Set("page", strconv.Itoa(page))
	}
	return (&url.URL{Path: "/agent", RawQuery: q.Encode()}).String()
}

// Neighbours are the pages before and after, or -1.
func (l listPage) Neighbours() [2]int {
	out := [2]int{l.Filter.Page - 1, l.Filter.Page + 1}
	if out[1] >= l.Pages() {
		out[1] = -1
	}
	return out
}

func (v *visit) list() error {
	q := v.URL.Query()
	f := casefile.Filter{State: casefile.State(q.Get("etat")), Category: q.Get("categorie"), Words: q.Get("mots")}
	if !slices.Contains(casefile.States, f.State) {
		f.State = ""
	}
	if len(f.Words) > 200 {
		f.Words = ""
	}
	f.Page, _ = strconv.Atoi(q.Get("page")) // anything else is the first page
	f.Page = max(0, min(f.Page, 1_000_000))
	l, err := v.site.svc.Cases.List(v.Context(), f)
	if err != nil {
		return err
	}
	p := listPage{List: l, Filter: f, Defs: v.site.svc.Cases.Definitions()}
	for _, d := range p.Defs {
		p.Categories = append(p.Categories, d.Category().Options...)
	}
	for _, n := range l.Counts {
		p.All += n
	}
	return v.page("list", "list.title", p)
}

// agentCase is a case with the forms of what may be done.
type agentCase struct {
	casePage
	Tokens  map[string]string // act -> form token
	Held    *held             // words to show again
	Note    string            // what happened
	Fault   string
	Reasons []string
}

// Words returns what was typed into the form of an act.
func (a agentCase) Words(kind string) string {
	if a.Held != nil && a.Held.Kind == kind {
		return a.Held.Words
	}
	return ""
}

// Bad tells whether the fault lies in the form of an act.
func (a agentCase) Bad(kind string) bool {
	return a.Fault != "" && a.Held != nil && a.Held.Kind == kind
}

func (v *visit) caseID() (int64, error) {
	id, err := strconv.ParseInt(v.PathValue("id"), 10, 64)
	if err != nil {
		return 0, casefile.ErrNotFound
	}
	return id, nil
}

func (v *visit) casePage() error {
	id, err := v.caseID()
	if err != nil {
		return err
	}
	note := ""
	if done := v.URL.Query().Get("fait"); slices.Contains([]string{"answered", "closed", "reopened", "noted"}, done) {
		note = v.site.words.say(v.lang, "done."+done)
	}
	return v.showCase(id, nil, note, "")
}

func (v *visit) showCase(id int64, h *held, note, fault string) error {
	c, err := v.site.svc.Cases.ByID(v.Context(), id)
	if err != nil {
		return err
	}
	a := agentCase{casePage: casePage{Receipt: casefile.Receipt{Case: c}}, Held: h, Note: note, Fault: fault, Reasons: casefile.Reasons, Tokens: map[string]string{}}
	if a.Def, err = v.site.svc.Cases.Definition(v.Context(), c); err != nil {
		return err
	}
	for _, kind := range []string{"answered", "closed", "reopened", "noted"} {
		a.Tokens[kind] = casefile.NewToken()
	}
	if fault != "" {
		v.status = http.StatusUnprocessableEntity
	}
	return v.render(&page{site: v.site, visit: v, Name: "case", Lang: v.lang, Title: v.site.words.say(v.lang, "case.title", c.Number()), Wrong: fault != "", Data: a})
}

// act does what an agent asks; a wrong form comes back with its words.
func (v *visit) act() error {
	id, err := v.caseID()
	if err != nil {
		return err
	}
	in, err := v.readForm("")
	if err != nil {
		return err
	}
	h := &held{Kind: in.values.Get("acte"), Words: in.values.Get("texte"), Why: in.values.Get("motif")}
	kind := casefile.Kind(h.Kind)
	if !slices.Contains([]casefile.Kind{casefile.KindAnswered, casefile.KindClosed, casefile.KindReopened, casefile.KindNoted}, kind) {
		return errBadForm
	}
	err = v.site.svc.Cases.Do(v.Context(), casefile.Act{
		Token: v.URL.Query().Get("jeton"), Case: id, Kind: kind, Actor: v.agent.Name, Words: h.Words, Why: h.Why,
	})
	switch {
	case errors.Is(err, casefile.ErrEmpty):
		return v.showCase(id, h, "", v.site.words.say(v.lang, "act.empty"))
	case errors.Is(err, casefile.ErrLong):
		return v.showCase(id, h, "", v.site.words.say(v.lang, "act.long", casefile.MaxWords))
	case errors.Is(err, casefile.ErrStep):
		return v.showCase(id, h, "", v.site.words.say(v.lang, "act.step"))
	case err != nil:
		return err
	}
	return v.redirect("/agent/dossiers/" + v.PathValue("id") + "?fait=" + string(kind))
}

func (v *visit) agentPhoto() error {
	id, err := v.caseID()
	if err != nil {
		return err
	}
	c, err := v.site.svc.Cases.ByID(v.Context(), id)
	if err != nil {
		return err
	}
	b, err := v.site.svc.Cases.Photo(v.Context(), c, v.PathValue("field"))
	if err != nil {
		return err
	}
	return v.bytes("image/jpeg", b)
}
