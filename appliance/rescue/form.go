package rescue

import (
	"slices"

	"beffroi.dev/appliance/rescue/screen"
)

// field is one line to fill in: a text, or a choice between words.
type field struct {
	name    string // form.NAME of the table
	text    []rune
	options []string // of a choice: keys of the table
	chosen  int
	limit   int // of a text, characters
}

func text(name, value string, limit int) *field {
	return &field{name: name, text: []rune(value), limit: limit}
}

func choice(name string, chosen int, options ...string) *field {
	return &field{name: name, options: options, chosen: max(chosen, 0)}
}

func (f *field) value() string { return string(f.text) }

// formView is some fields, and what is done with them. Enter goes to the next one,
// and after the last one does it.
type formView struct {
	name   string // title.NAME and form.NAME.intro of the table
	fields []*field
	at     int
	intro  func(m *Model) []line // below the words of the table; may be nil
	do     func(m *Model, v *formView) []Effect
	wrong  string // what cannot be as it was typed, in the reader's language
}

func (*formView) typing()                 {}
func (v *formView) title(m *Model) string { return m.t("title." + v.name) }

func (v *formView) get(name string) *field {
	return v.fields[slices.IndexFunc(v.fields, func(f *field) bool { return f.name == name })]
}

func (v *formView) key(m *Model, k screen.Key) []Effect {
	f := v.fields[v.at]
	switch {
	case k.Code == screen.Up:
		v.at = max(v.at-1, 0)
	case k.Code == screen.Down, k.Code == screen.Tab:
		v.at = min(v.at+1, len(v.fields)-1)
	case k.Code == screen.Enter && v.at < len(v.fields)-1:
		v.at++
	case k.Code == screen.Enter:
		v.wrong = ""
		return v.do(m, v)
	case len(f.options) > 0 && (k.Code == screen.Left || k.Code == screen.Right || k.Code == screen.Char && k.Rune == ' '):
		step := 1
		if k.Code == screen.Left {
			step = len(f.options) - 1
		}
		f.chosen = (f.chosen + step) % len(f.options)
	case len(f.options) > 0:
	case k.Code == screen.Backspace && len(f.text) > 0:
		f.text = f.text[:len(f.text)-1]
	case k.Code == screen.Char && len(f.text) < f.limit:
		f.text = append(f.text, k.Rune)
	}
	return nil
}

// formAt is the column of what is filled in.
const formAt = 30

func (v *formView) draw(m *Model) content {
	c := content{focus: -1, keys: "bottom.form"}
	c.pinned = paragraph(screen.Plain, m.t("form."+v.name+".intro"))
	if v.intro != nil {
		c.pinned = append(c.pinned, v.intro(m)...)
	}
	c.pinned = append(c.pinned, nil)
	for i, f := range v.fields {
		style, label, value := screen.Plain, screen.Dim, string(f.text)
		if len(f.options) > 0 {
			value = "< " + m.t(f.options[f.chosen]) + " >"
		}
		if i == v.at {
			label, c.focus, c.cursor = screen.Bold, len(c.body), true
		}
		const room = screen.Width - margin - formAt - 1
		if r := []rune(value); len(r) > room { // its end, where one types
			value = "…" + string(r[len(r)-room+1:])
		}
		c.body = append(c.body, line{{margin, label, m.t("form." + f.name)}, {formAt, style, value}})
	}
	c.gap()
	if v.wrong != "" {
		c.text(screen.Bad, v.wrong)
		return c
	}
	c.text(screen.Dim, m.t("hint."+v.fields[v.at].name))
	return c
}
