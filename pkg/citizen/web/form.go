package web

import (
	"errors"
	"net/http"
	"net/url"
	"strings"

	"beffroi.dev/pkg/citizen/casefile"
	"beffroi.dev/pkg/citizen/photo"
	"beffroi.dev/pkg/citizen/procedure"
)

func (v *visit) home() error {
	return v.page("home", "home.title", v.site.svc.Cases.Definitions())
}

func (v *visit) accessibility() error { return v.page("accessibility", "a11y.title", nil) }

func (v *visit) privacy() error {
	return v.page("privacy", "privacy.title", v.site.svc.Cases.Definitions())
}

// procedureOf finds the démarche of the address.
func (v *visit) procedureOf() (*procedure.Definition, error) {
	d, ok := v.site.svc.Cases.Definitions()[v.PathValue("slug")]
	if !ok {
		return nil, casefile.ErrProcedure
	}
	return d, nil
}

func (v *visit) demarche() error {
	d, err := v.procedureOf()
	if err != nil {
		return err
	}
	p := &page{site: v.site, visit: v, Name: "demarche", Lang: v.lang, Title: d.Title.In(v.lang)}
	p.Data = struct {
		*procedure.Definition
		Service casefile.Contact
	}{d, v.site.cfg.Services[d.Service]}
	return v.render(p)
}

// formPage is a form with what was typed and what is wrong with it.
type formPage struct {
	*procedure.Definition
	Token   string
	Answers procedure.Answers
	Faults  []fault // in the order of the form
	Photo   string  // reference of a photo that is kept already
}

// fault is one wrong field, in words. The label says which, in the summary.
type fault struct{ Field, Words, Label string }

// FaultOf returns what is wrong with a field, in words; empty when nothing is.
func (f formPage) FaultOf(id string) string {
	for _, x := range f.Faults {
		if x.Field == id {
			return x.Words
		}
	}
	return ""
}

// Again is where the form is sent: the token in the address lets a proxy see
// that sending twice files once.
func (f formPage) Again() string {
	return "/demarches/" + f.Slug + "/formulaire?jeton=" + url.QueryEscape(f.Token)
}

func (v *visit) form() error {
	d, err := v.procedureOf()
	if err != nil {
		return err
	}
	a := procedure.Answers{}
	if c := v.URL.Query().Get("categorie"); c != "" {
		a[d.Category().ID] = c
	}
	return v.showForm(formPage{Definition: d, Token: casefile.NewToken(), Answers: a})
}

func (v *visit) showForm(f formPage) error {
	p := &page{site: v.site, visit: v, Name: "form", Lang: v.lang, Title: f.Title.In(v.lang), Data: f, Wrong: len(f.Faults) > 0}
	if p.Wrong {
		v.status = http.StatusUnprocessableEntity
	}
	return v.render(p)
}

// file takes a form. Whatever is wrong with it, the form comes back as it was.
func (v *visit) file() error {
	d, err := v.procedureOf()
	if err != nil {
		return err
	}
	photoField := ""
	for _, f := range d.Fields {
		if f.Type == procedure.Photo {
			photoField = f.ID
		}
	}
	in, err := v.readForm(photoField)
	if err != nil {
		return err
	}
	raw := procedure.Answers{}
	for k := range in.values {
		raw[k] = in.values.Get(k)
	}
	f := formPage{Definition: d, Token: v.URL.Query().Get("jeton"), Answers: d.Clean(raw), Photo: in.values.Get("photo-gardee")}
	if err := casefile.CheckToken(f.Token); err != nil {
		return err
	}
	// A second attempt of what is filed already is answered without a look at
	// the rest: its photo is part of the case now.
	if r, err := v.site.svc.Cases.ByToken(v.Context(), f.Token); err == nil {
		return v.acknowledge(r)
	} else if !errors.Is(err, casefile.ErrNotFound) {
		return err
	}
	if ok, _ := v.site.filings.Allow(v.address(), v.now()); !ok {
		return errTooOften
	}
	photoFault, err := v.takePhoto(&f, in, in.values.Get("photo-retirer") != "")
	if err != nil {
		return err
	}
	v.gatherFaults(&f, photoField, photoFault)
	if len(f.Faults) > 0 {
		return v.showForm(f)
	}
	r, err := v.site.svc.Cases.File(v.Context(), v.filing(f, photoField))
	if errors.Is(err, casefile.ErrUpload) { // kept for a day, and the day is over
		f.Photo = ""
		v.gatherFaults(&f, photoField, "photo.gone")
		return v.showForm(f)
	}
	if err != nil {
		return err
	}
	return v.acknowledge(r)
}

func (v *visit) filing(f formPage, photoField string) casefile.Filing {
	out := casefile.Filing{
		Token: f.Token, Slug: f.Slug, Lang: v.lang, Channel: "web",
		Answers: f.Answers, Contact: v.site.cfg.Services[f.Service],
	}
	if f.Photo != "" {
		out.Uploads = map[string]string{photoField: f.Photo}
	}
	return out
}

func (v *visit) acknowledge(r casefile.Receipt) error {
	return v.redirect("/suivi/" + r.Case.Code.String() + "/recu")
}

// takePhoto keeps a new photo, or the one sent before, or none. It returns the
// key of what is wrong with a photo that was refused.
func (v *visit) takePhoto(f *formPage, in sent, remove bool) (string, error) {
	if remove {
		f.Photo = ""
	}
	switch {
	case in.tooLong:
		return "photo.bytes", nil
	case in.file == nil:
		if strings.Trim(f.Photo, "abcdefghijklmnopqrstuvwxyz234567") != "" {
			f.Photo = "" // not a reference of ours
		}
		return "", nil
	}
	p, err := v.site.svc.Photos.Develop(v.Context(), in.file)
	for key, refusal := range map[string]error{"photo.bytes": photo.ErrBytes, "photo.pixels": photo.ErrPixels, "photo.kind": photo.ErrKind, "photo.broken": photo.ErrBroken} {
		if errors.Is(err, refusal) {
			return key, nil
		}
	}
	if err != nil {
		return "", err
	}
	f.Photo, err = v.site.svc.Cases.Keep(v.Context(), p.JPEG, p.Width, p.Height)
	return "", err
}

// gatherFaults says what is wrong, in the order of the form.
func (v *visit) gatherFaults(f *formPage, photoField, photoFault string) {
	f.Faults = nil
	faults := f.Check(f.Answers, func(string) bool { return f.Photo != "" })
	for _, field := range f.Fields {
		x, bad := faults[field.ID]
		label := field.Label.In(v.lang)
		switch {
		case field.ID == photoField && photoFault != "":
			f.Faults = append(f.Faults, fault{field.ID, v.site.words.say(v.lang, photoFault), label})
		case !bad:
		case x.Limit > 0:
			f.Faults = append(f.Faults, fault{field.ID, v.site.words.say(v.lang, "fault."+x.Kind, x.Limit), label})
		default:
			f.Faults = append(f.Faults, fault{field.ID, v.site.words.say(v.lang, "fault."+x.Kind+"."+field.Type), label})
		}
	}
}

// upload shows a photo that waits for its form; its reference is its key.
func (v *visit) upload() error {
	b, err := v.site.svc.Cases.Upload(v.Context(), v.PathValue("ref"))
	if err != nil {
		return err
	}
	return v.bytes("image/jpeg", b)
}
