package web

import (
	"errors"
	"html/template"
	"net/http"
	"time"

	"beffroi.dev/pkg/citizen/casefile"
	"beffroi.dev/pkg/citizen/procedure"
)

type followPage struct {
	Typed string
	Fault string
}

func (v *visit) follow() error { return v.page("follow", "follow.title", followPage{}) }

// followCode takes a typed code to its case.
func (v *visit) followCode() error {
	in, err := v.readForm("")
	if err != nil {
		return err
	}
	typed := in.values.Get("code")
	again := func(key string) error {
		v.status = http.StatusUnprocessableEntity
		p := &page{site: v.site, visit: v, Name: "follow", Lang: v.lang, Title: v.site.words.say(v.lang, "follow.title"), Wrong: true}
		p.Data = followPage{typed, v.site.words.say(v.lang, key)}
		return v.render(p)
	}
	if typed == "" {
		return again("follow.empty")
	}
	code, err := casefile.ParseCode(typed)
	if err != nil {
		return again("follow.malformed")
	}
	if _, err := v.byCode(code); errors.Is(err, casefile.ErrNotFound) {
		return again("follow.unknown")
	} else if err != nil {
		return err
	}
	return v.redirect("/suivi/" + code.String())
}

// byCode finds a case; wrong codes are counted against who tries them.
func (v *visit) byCode(code casefile.Code) (casefile.Receipt, error) {
	r, err := v.site.svc.Cases.ByCode(v.Context(), code)
	if errors.Is(err, casefile.ErrNotFound) {
		if ok, _ := v.site.guesses.Allow(v.address(), v.now()); !ok {
			return r, errTooOften
		}
	}
	return r, err
}

// casePage is a case with the definition it was filed under.
type casePage struct {
	casefile.Receipt
	Def       *procedure.Definition
	Link      string
	QR        template.HTML
	SilenceOn time.Time // zero: silence has no effect
}

// Excerpted is what a citizen sees of the history, newest first.
func (c casePage) Excerpted() []casefile.Event {
	var out []casefile.Event
	for i := len(c.Case.Events) - 1; i >= 0; i-- {
		if e := c.Case.Events[i]; e.Public() {
			out = append(out, e)
		}
	}
	return out
}

// Has tells whether a photo field is filled.
func (c casePage) Has(field string) bool {
	for _, f := range c.Case.Files {
		if f.Field == field {
			return true
		}
	}
	return false
}

func (v *visit) openCase() (casePage, error) {
	code, err := casefile.ParseCode(v.PathValue("code"))
	if err != nil {
		return casePage{}, casefile.ErrNotFound
	}
	r, err := v.byCode(code)
	if err != nil {
		return casePage{}, err
	}
	c := casePage{Receipt: r, Link: v.publicURL() + "/suivi/" + code.String()}
	if c.Def, err = v.site.svc.Cases.Definition(v.Context(), r.Case); err != nil {
		return c, err
	}
	c.SilenceOn, _ = c.Def.Law.Silence.On(r.Case.FiledAt.In(v.site.zone))
	return c, nil
}

func (v *visit) track() error {
	c, err := v.openCase()
	if err != nil {
		return err
	}
	return v.page("status", "status.title", c)
}

func (v *visit) receipt() error {
	c, err := v.openCase()
	if err != nil {
		return err
	}
	if c.QR, err = qrCode(c.Link, v.site.words.say(v.lang, "receipt.qr")); err != nil {
		return err
	}
	return v.page("receipt", "receipt.title", c)
}

func (v *visit) citizenPhoto() error {
	c, err := v.openCase()
	if err != nil {
		return err
	}
	b, err := v.site.svc.Cases.Photo(v.Context(), c.Case, v.PathValue("field"))
	if err != nil {
		return err
	}
	return v.bytes("image/jpeg", b)
}
