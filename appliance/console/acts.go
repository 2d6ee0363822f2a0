package console

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"beffroi.dev/appliance/api"
	"beffroi.dev/pkg/ident"
)

// operations are what the console does: where each lies in the API, by the name
// of a group or of a VM.
var operations = map[string]struct {
	path   string
	danger bool
}{
	"switch":   {path: "/api/v1/groups/%s/switch"},
	"start":    {path: "/api/v1/vms/%s/start"},
	"shutdown": {path: "/api/v1/vms/%s/shutdown"},
	"off":      {path: "/api/v1/vms/%s/off", danger: true},
}

// actPage asks for a confirmation, or says why it was not done.
type actPage struct {
	reader
	Node, Title, Text, Do string
	Danger                bool
	Failed, Said          string
}

// operation finds what a request is about, or answers it.
func (c *Console) operation(w http.ResponseWriter, r *http.Request) (who visitor, what, name string, ok bool) {
	if who, ok = c.visitor(r, true); !ok {
		http.Redirect(w, r, "/login", http.StatusSeeOther)
		return
	}
	what, name = r.PathValue("what"), r.PathValue("name")
	if _, ok = operations[what]; !ok || ident.CheckName(name) != nil {
		http.NotFound(w, r)
		return who, what, name, false
	}
	return
}

func (c *Console) actPage(r *http.Request, who visitor, what, name string) actPage {
	read := c.reader(r, who)
	twin := newWorld(c.feed.now(), read, time.Now()).twin.Name
	return actPage{
		reader: read, Node: c.cfg.Name, Title: read.T("act."+what+".title", name, twin), Text: read.T("act." + what + ".text"),
		Do: read.T("act." + what + ".do"), Danger: operations[what].danger,
	}
}

func (c *Console) confirm(w http.ResponseWriter, r *http.Request) {
	if switchLanguage(w, r) {
		return
	}
	if who, what, name, ok := c.operation(w, r); ok {
		c.views.render(w, http.StatusOK, "act", c.actPage(r, who, what, name))
	}
}

// act does it through the API, as the user, with all rules and the audit there.
func (c *Console) act(w http.ResponseWriter, r *http.Request) {
	who, what, name, ok := c.operation(w, r)
	if !ok {
		return
	}
	var body any
	if what == "switch" {
		body = api.Target{Node: newWorld(c.feed.now(), reader{words: c.words}, time.Now()).twin.Name}
	}
	e := c.through(r, who, http.MethodPost, fmt.Sprintf(operations[what].path, name), body, nil)
	if e == nil {
		http.Redirect(w, r, "/?done="+what+"&on="+name, http.StatusSeeOther)
		return
	}
	p := c.actPage(r, who, what, name)
	key := "code." + string(e.Code)
	if !c.words.has(key) {
		key = "code.failed"
	}
	p.Failed, p.Said = p.T(key), e.Message
	c.views.render(w, pageStatus(e.Code), "act", p)
}

// through asks the API as a user. What it answers goes to out, unless that is nil; what
// it does not do is returned.
func (c *Console) through(r *http.Request, who visitor, method, path string, in, out any) *api.Error {
	body := []byte(nil)
	if in != nil {
		body, _ = json.Marshal(in) // structs of words
	}
	req, err := http.NewRequestWithContext(r.Context(), method, path, bytes.NewReader(body))
	if err != nil {
		panic(err) // the path is made of checked names
	}
	req.RemoteAddr = r.RemoteAddr
	req.Header.Set(api.RequestHeader, "console")
	answer := &recorder{header: http.Header{}, code: http.StatusOK}
	c.api.Handler().ServeHTTP(answer, api.WithUser(req, who.name))
	switch {
	case answer.code >= 300:
		e := &api.Error{}
		if err := json.Unmarshal(answer.body.Bytes(), e); err != nil {
			e = &api.Error{Code: api.Failed, Message: strings.TrimSpace(answer.body.String())}
		}
		return e
	case out == nil:
		return nil
	}
	if err := json.Unmarshal(answer.body.Bytes(), out); err != nil {
		return &api.Error{Code: api.Failed, Message: err.Error()}
	}
	return nil
}

// recorder keeps an answer of the API.
type recorder struct {
	header http.Header
	code   int
	body   bytes.Buffer
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) WriteHeader(code int)        { r.code = code }
func (r *recorder) Write(b []byte) (int, error) { return r.body.Write(b) }
