package web

import (
	"fmt"
	"html/template"
	"net/url"
	"time"

	"beffroi.dev/pkg/citizen/agent"
	"beffroi.dev/pkg/citizen/casefile"
	"beffroi.dev/pkg/citizen/procedure"
	"beffroi.dev/pkg/qr"
)

// page is what every template gets; Data is what the one page adds.
type page struct {
	site  *Site
	visit *visit

	Name  string
	Lang  string
	Title string
	Wrong bool // the page shows faults: its title says so first
	Data  any
}

// page renders a template into the answer.
func (v *visit) page(name, title string, data any) error {
	p := &page{site: v.site, visit: v, Name: name, Lang: v.lang, Title: v.site.words.say(v.lang, title), Data: data}
	return v.render(p)
}

func (v *visit) render(p *page) error {
	v.header.Set("Content-Type", "text/html; charset=utf-8")
	v.header.Set("Content-Language", v.lang)
	if err := v.site.pages[p.Name].ExecuteTemplate(&v.body, "layout", p); err != nil {
		return fmt.Errorf("render %s: %w", p.Name, err)
	}
	return nil
}

// The methods below are what templates call.

// T says a key of the catalogue.
func (p *page) T(key string, args ...any) string { return p.site.words.say(p.Lang, key, args...) }

// Text picks the language of a definition's text.
func (p *page) Text(t procedure.Text) string {
	if p.Lang == "fr" {
		return french(t.Fr)
	}
	return t.In(p.Lang)
}

// Date writes a day, DateTime adds the time, Stamp is for machines.
func (p *page) Date(t time.Time) string     { return date(p.Lang, t.In(p.site.zone)) }
func (p *page) DateTime(t time.Time) string { return dateTime(p.Lang, t.In(p.site.zone)) }

// Stamp writes a time for the datetime attribute.
func (p *page) Stamp(t time.Time) string { return t.In(p.site.zone).Format(time.RFC3339) }

// Town and Contact are the town hall's.
func (p *page) Town() string              { return p.site.cfg.Town }
func (p *page) Contact() casefile.Contact { return p.site.cfg.Contact }

// Agent is who is logged in; its ID is zero for citizens.
func (p *page) Agent() agent.Agent { return p.visit.agent }

// Asset is the address of a static file, which changes with its content.
func (p *page) Asset(name string) string { return "/static/" + name + "?v=" + p.site.assets[name].tag }

// Other is the other language.
func (p *page) Other() string {
	if p.Lang == "fr" {
		return "en"
	}
	return "fr"
}

// Switch is the address of this page in the other language.
func (p *page) Switch() string {
	q := url.Values{}
	for k, vs := range p.visit.URL.Query() {
		if k != "jeton" { // a token belongs to one form
			q[k] = vs
		}
	}
	q.Set("lang", p.Other())
	return (&url.URL{Path: p.visit.URL.Path, RawQuery: q.Encode()}).String()
}

// At tells whether the page lies under a path, for the menu.
func (p *page) At(path string) bool { return p.visit.URL.Path == path }

// StateWord and WhyWord name states and reasons.
func (p *page) StateWord(s casefile.State) string { return p.T("state." + string(s)) }

// WhyWord names the reason of a closing.
func (p *page) WhyWord(why string) string { return p.T("why." + why) }

// Option names the category of a definition.
func (p *page) Option(d *procedure.Definition, id string) string {
	if o, ok := d.Category().Option(id); ok {
		return p.Text(o.Label)
	}
	return id
}

// Dangerous tells whether a category goes first.
func (p *page) Dangerous(d *procedure.Definition, id string) bool {
	o, _ := d.Category().Option(id)
	return o.Danger
}

// Nested gives a part of a page the page's own methods beside its data.
func (p *page) Nested(data any) *page {
	q := *p
	q.Data = data
	return &q
}

// publicURL is where this service is reached, as printed on receipts.
func (v *visit) publicURL() string {
	if v.site.cfg.PublicURL != "" {
		return v.site.cfg.PublicURL
	}
	scheme := "http"
	if v.site.cfg.Secure || v.TLS != nil {
		scheme = "https"
	}
	return scheme + "://" + v.Host
}

// qrCode draws text as an SVG.
func qrCode(text, label string) (template.HTML, error) {
	code, err := qr.Encode(text, qr.Medium)
	if err != nil {
		return "", err
	}
	side := code.Side()
	return template.HTML(fmt.Sprintf(`<svg class="qr" role="img" aria-label="%s" viewBox="0 0 %d %d"><path class="qr-paper" d="M0 0h%dv%dH0z"/><path class="qr-ink" d="%s"/></svg>`,
		template.HTMLEscapeString(label), side, side, side, side, code.Path())), nil
}
