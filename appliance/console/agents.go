package console

import (
	"net/http"
	"net/url"
	"strings"
	"time"

	"beffroi.dev/appliance/agents"
	"beffroi.dev/appliance/api"
	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/qr"
)

// agentsPage lists the counter agents.
type agentsPage struct {
	reader
	Node    string
	Address string // where they log in; empty while nobody says
	Rows    []agentRow
	Known   bool
	Failed  string // why the list is not known
	Said    string // by the API, about that
	Notice  string
}

// agentRow is one agent.
type agentRow struct {
	Name, Display string
	Mark          mark
	Made          time.Time
	Login         *time.Time
	Acts          []control
}

// agentForm asks for what an act needs, again if that was at fault.
type agentForm struct {
	reader
	Node, What, Title, Text, Do string
	Danger                      bool
	Name, Display               string // as typed
	Secret                      bool
	Failed, Said                string
	Field                       string // the one at fault
}

// Bad tells whether a field is at fault.
func (f agentForm) Bad(field string) bool { return f.Field == field }

// Asks tells whether the form has a field.
func (f agentForm) Asks(field string) bool {
	switch field {
	case "name", "display":
		return f.What == "new"
	case "secret":
		return f.What == "renew"
	}
	return f.What != "close" // a password
}

// enrolmentPage shows a one-time secret, once.
type enrolmentPage struct {
	reader
	Node, Title, Agent, Address string
	Secret                      string // in groups of four letters, for typing
	Side                        int
	Ink                         string // of the QR code: the data of an SVG path
}

// address is where agents log in.
func (c *Console) address() string {
	s := c.feed.now()
	if s.node.Citizen == nil || s.node.Citizen.URL == "" {
		return ""
	}
	return s.node.Citizen.URL + "/agent"
}

func (c *Console) agents(w http.ResponseWriter, r *http.Request) {
	if switchLanguage(w, r) {
		return
	}
	who, ok := c.visitor(r, true)
	if !ok {
		http.Redirect(w, r, "/login", http.StatusSeeOther)
		return
	}
	read, status := c.reader(r, who), http.StatusOK
	p := agentsPage{reader: read, Node: c.cfg.Name, Address: c.address()}
	q := r.URL.Query()
	if done, on := "agent.done."+q.Get("done"), q.Get("on"); c.words.has(done) && ident.CheckName(on) == nil {
		p.Notice = p.T(done, on)
	}
	var list []agents.Agent
	if e := c.through(r, who, http.MethodGet, "/api/v1/agents", nil, &list); e != nil {
		p.Failed, _ = read.agentFault("list", e)
		p.Said = e.Message
		if e.Code == api.Forbidden {
			status = http.StatusForbidden
		}
	} else {
		p.Known = true
	}
	for _, a := range list {
		p.Rows = append(p.Rows, read.agentRow(a))
	}
	c.views.render(w, status, "agents", p)
}

func (r reader) agentRow(a agents.Agent) agentRow {
	row := agentRow{Name: a.Name, Display: a.Display, Mark: good(r.T("agent.open")), Made: a.Made, Login: a.LastLogin}
	acts := []string{"renew", "close"}
	if a.Closed != nil {
		row.Mark, acts = calm(r.T("agent.closed", r.Day(*a.Closed))), []string{"reopen"}
	}
	if !r.Administers() {
		return row
	}
	for _, what := range acts {
		row.Acts = append(row.Acts, control{Href: "/agents/" + a.Name + "/" + what, Label: r.T("agent." + what), About: a.Display, Danger: what == "close"})
	}
	return row
}

// agentFault words why something was not done, and says which field is at fault.
func (r reader) agentFault(what string, e *api.Error) (words, field string) {
	about := "agent.fault." + e.Field
	switch {
	case e.Code == api.BadInput && e.Field != "" && r.words.has(about):
		return r.T(about), e.Field
	case e.Code == api.BadInput && what == "renew":
		return r.T("agent.fault.nothing"), ""
	case e.Code == api.Refused && e.Field != "" && what == "new":
		return r.T("agent.fault.new"), e.Field
	case e.Code == api.Refused && (what == "renew" || what == "reopen") && e.Field != "":
		return r.T("agent.fault." + what), ""
	case e.Code == api.Refused:
		return r.T("agent.fault.nogroup"), ""
	case e.Code == api.Elsewhere:
		return r.T("agent.fault.elsewhere", e.Node), ""
	case e.Code == api.Unavailable:
		return r.T("agent.fault.unavailable"), ""
	}
	if key := "code." + string(e.Code); r.words.has(key) {
		return r.T(key), ""
	}
	return r.T("code.failed"), ""
}

// agentAct finds what a request is about, or answers it.
func (c *Console) agentAct(w http.ResponseWriter, r *http.Request) (who visitor, f agentForm, ok bool) {
	if who, ok = c.visitor(r, true); !ok {
		http.Redirect(w, r, "/login", http.StatusSeeOther)
		return
	}
	what, name := r.PathValue("what"), r.PathValue("name")
	switch {
	case name == "":
		what = "new"
	case what == "renew", what == "close", what == "reopen":
		ok = ident.CheckName(name) == nil
	default:
		ok = false
	}
	if !ok {
		http.NotFound(w, r)
		return who, f, false
	}
	read := c.reader(r, who)
	f = agentForm{
		reader: read, Node: c.cfg.Name, What: what, Title: read.T("agent."+what+".title", name), Text: read.T("agent." + what + ".text"),
		Do: read.T("agent." + what + ".do"), Danger: what == "close", Name: name, Secret: true,
	}
	return who, f, true
}

func (c *Console) askAgent(w http.ResponseWriter, r *http.Request) {
	if switchLanguage(w, r) {
		return
	}
	who, f, ok := c.agentAct(w, r)
	if !ok {
		return
	}
	status := http.StatusOK
	if !who.administers() {
		status, f.Failed = http.StatusForbidden, f.T("code.forbidden")
	}
	c.views.render(w, status, "agent", f)
}

// doAgent does it through the API, as the user, and shows the secret that comes of it.
func (c *Console) doAgent(w http.ResponseWriter, r *http.Request) {
	who, f, ok := c.agentAct(w, r)
	if !ok || !readForm(w, r) {
		return
	}
	typed := r.PostForm.Get
	if f.What == "new" {
		f.Name, f.Display = strings.TrimSpace(typed("name")), strings.TrimSpace(typed("display"))
	}
	f.Secret = typed("secret") != ""
	if typed("password") != typed("again") {
		f.Failed, f.Field = f.T("agent.fault.again"), "again"
		c.views.render(w, http.StatusBadRequest, "agent", f)
		return
	}
	path, in := "/api/v1/agents/"+f.Name+"/"+f.What, any(nil)
	switch f.What {
	case "new":
		path, in = "/api/v1/agents", api.NewAgent{Name: f.Name, Display: f.Display, Password: typed("password")}
	case "renew":
		in = api.AgentRenewal{Password: typed("password"), Secret: f.Secret}
	case "reopen":
		in = api.AgentRenewal{Password: typed("password")}
	}
	var e agents.Enrolment
	if fault := c.through(r, who, http.MethodPost, path, in, &e); fault != nil {
		f.Failed, f.Field = f.agentFault(f.What, fault)
		if f.Field == "" && fault.Code != api.BadInput {
			f.Said = fault.Message
		}
		c.views.render(w, pageStatus(fault.Code), "agent", f)
		return
	}
	if e.Secret == "" {
		http.Redirect(w, r, "/agents?"+url.Values{"done": {f.What}, "on": {f.Name}}.Encode(), http.StatusSeeOther)
		return
	}
	c.showEnrolment(w, f, e)
}

// pageStatus is the status of a page that says so: a browser must not take a page that
// names another node for one to ask again.
func pageStatus(code api.Code) int {
	switch code {
	case api.BadInput:
		return http.StatusBadRequest
	case api.Forbidden, api.Unauthenticated:
		return http.StatusForbidden
	case api.NotFound:
		return http.StatusNotFound
	case api.Refused, api.Elsewhere:
		return http.StatusConflict
	case api.Unavailable:
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

func (c *Console) showEnrolment(w http.ResponseWriter, f agentForm, e agents.Enrolment) {
	p := enrolmentPage{reader: f.reader, Node: f.Node, Title: f.T("agent."+f.What+".done", f.Name), Agent: f.Name, Address: c.address()}
	p.Path = "" // its switch of language would be the end of this page
	for i := 0; i < len(e.Secret); i += 4 {
		p.Secret += e.Secret[i:min(i+4, len(e.Secret))] + " "
	}
	p.Secret = strings.TrimSpace(p.Secret)
	code, err := qr.Encode(e.URI, qr.Low)
	if err != nil {
		c.log.Warn("a secret is shown without its QR code", "agent", f.Name) // the letters do as well
	} else {
		p.Side, p.Ink = code.Side(), code.Path()
	}
	c.views.render(w, http.StatusOK, "enrolment", p)
}
