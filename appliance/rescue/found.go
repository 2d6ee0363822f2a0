package rescue

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"beffroi.dev/appliance/operator"
	"beffroi.dev/appliance/pairing"
	"beffroi.dev/appliance/rescue/screen"
)

// ask is an effect that only init can carry out.
func ask(a operator.Ask) Effect { return Effect{Do: Deed(a.Do), Ask: &a} }

// pairing is what init says of a founding; nil: nothing.
func (m *Model) pairing() *pairing.Status { return m.snap.Operator.Pairing }

// firstView is the screen of a node without a pair: its code, and what to do with it.
type firstView struct{}

func (firstView) title(m *Model) string               { return m.t("title.first") }
func (firstView) key(m *Model, k screen.Key) []Effect { return turnPages(m, k) }
func (firstView) draw(m *Model) content {
	c := content{focus: -1}
	p := m.pairing()
	if p == nil || p.Code == "" {
		c.text(screen.Bold, m.t("first.lead"))
		c.gap()
		c.text(screen.Plain, m.t(yes(m.snap.OperatorErr != nil, "first.noinit", "first.soon")))
	} else {
		m.invitation(&c, p)
	}
	c.gap()
	const at = 20
	c.body = labelled(c.body, at, m.t("row.node"), screen.Plain, join(m.name(), m.version()))
	c.body = append(c.body, m.ports(at)...)
	if p == nil {
		return c
	}
	for i, h := range p.Heard[:min(len(p.Heard), 4)] {
		c.body = labelled(c.body, at, yes(i == 0, m.t("row.heard"), ""), screen.Plain,
			m.t(yes(h.Witness, "first.witness", "first.node"), clip(h.Tag, 4), clip(h.Where, 40)))
	}
	if len(p.Heard) == 0 {
		c.body = labelled(c.body, at, m.t("row.heard"), screen.Dim, m.t("first.nobody"))
	}
	return c
}

// invitation is the code and what to do, or why there is nothing to be done here.
func (m *Model) invitation(c *content, p *pairing.Status) {
	switch {
	case p.Act.Working:
		c.text(screen.Bold, m.step(p.Act))
		return
	case p.Kept != "":
		c.text(screen.Bold, m.t("first.kept", clip(p.Kept, 40)))
		c.text(screen.Plain, m.t("first.kept.do"))
		return
	case p.Taken != nil:
		c.text(screen.Warn, m.fault(p.Taken))
		return
	}
	c.text(screen.Plain, m.t("first.lead"))
	c.gap()
	c.body = append(c.body, line{{margin, screen.Dim, m.t("row.code")}, {20, screen.Bold, p.Code}})
	c.gap()
	c.text(screen.Plain, m.t("first.how1"))
	c.text(screen.Plain, m.t("first.how2"))
	if p.Act.Fault != nil {
		c.text(screen.Bad, m.t("first.failed", m.fault(p.Act.Fault)))
	}
	if p.Wrong > 0 {
		c.text(screen.Warn, m.t("first.wrong", p.Wrong))
	} else if p.Rest > 0 {
		c.text(screen.Warn, m.t("first.rest", p.Rest))
	}
}

// founding opens the next question of a founding.
func founding(m *Model) []Effect {
	p := m.pairing()
	if p == nil {
		return nil
	}
	switch a := p.Act; {
	case a.Working:
		m.push(progressView{})
	case a.Request == nil:
		m.push(newRequest(m))
	case a.Twin == "":
		m.push(newMeeting(false))
	case a.Witness == "":
		m.push(newMeeting(true))
	default:
		m.push(newFound())
	}
	return nil
}

const maxName = 60

func newRequest(m *Model) view {
	profiles := []string{"production", "emulated"}
	return &formView{name: "request", do: request, fields: []*field{
		text("town", "", maxName), text("here", m.t("site.here"), maxName), text("there", m.t("site.there"), maxName), text("service", "", 18),
		choice("profile", slices.Index(profiles, m.snap.Operator.Profile), "profile.production", "profile.emulated"),
	}}
}

func request(m *Model, v *formView) []Effect {
	r := pairing.Request{Town: strings.TrimSpace(v.get("town").value()), Here: strings.TrimSpace(v.get("here").value()), There: strings.TrimSpace(v.get("there").value()),
		Profile: []string{"production", "emulated"}[v.get("profile").chosen]}
	typed := strings.TrimSpace(v.get("service").value())
	if !strings.Contains(typed, "/") {
		typed += "/32" // init knows the network that it lies in
	}
	service, err := netip.ParsePrefix(typed)
	if err != nil || !service.Addr().Is4() {
		v.wrong = m.t("bad.service")
		return nil
	}
	r.Service = service
	return m.act(ask(operator.Ask{Do: operator.Begin, Request: &r}))
}

func newMeeting(witness bool) view {
	name := yes(witness, "witness", "twin")
	return &formView{name: name, fields: []*field{text("code", "", 12), text("address", "", 64)},
		intro: func(m *Model) []line { return heard(m, witness) },
		do: func(m *Model, v *formView) []Effect {
			if _, err := pairing.ParseCode(v.get("code").value()); err != nil {
				v.wrong, v.at = m.fault(err), 0
				return nil
			}
			return m.act(ask(operator.Ask{Do: operator.Meet, Witness: witness, Code: v.get("code").value(), Address: v.get("address").value()}))
		}}
}

// heard lists the machines of a kind in reach.
func heard(m *Model, witness bool) []line {
	var lines []line
	if p := m.pairing(); p != nil {
		for _, h := range p.Heard {
			if h.Witness == witness && len(lines) < 3 {
				lines = append(lines, paragraph(screen.Good, m.t("form.heard", clip(h.Tag, 4), clip(h.Where, 40)))...)
			}
		}
	}
	if len(lines) == 0 {
		lines = paragraph(screen.Warn, m.t(yes(witness, "form.nowitness", "form.nobody")))
	}
	return append([]line{nil}, lines...)
}

// newFound asks once more, with all answers.
func newFound() view {
	return newConfirm("found", "confirm.found", func(m *Model) []line {
		p := m.pairing()
		if p == nil || p.Act.Request == nil {
			return nil
		}
		r := p.Act.Request
		lines := paragraph(screen.Bold, m.t("found.sum"))
		for _, row := range []struct{ label, text string }{
			{"form.town", clip(r.Town, 50)}, {"form.here", clip(r.Here, 50)}, {"form.there", join(clip(r.There, 30), clip(p.Act.Twin, 40))},
			{"form.service", r.Service.String()}, {"form.witness", clip(p.Act.Witness, 50)},
		} {
			lines = labelled(lines, formAt, m.t(row.label), screen.Plain, row.text)
		}
		return append(lines, paragraph(screen.Plain, m.t("found.means"))...)
	}, ask(operator.Ask{Do: operator.Found}))
}

// progressView follows a founding.
type progressView struct{}

func (progressView) title(m *Model) string { return m.t("title.progress") }
func (progressView) key(m *Model, k screen.Key) []Effect {
	if p := m.pairing(); k.Code == screen.Enter && (p == nil || !p.Act.Working) {
		m.goHome()
	}
	return nil
}

func (progressView) draw(m *Model) content {
	c := content{focus: -1}
	p := m.pairing()
	switch {
	case p == nil || m.snap.Pairing.Paired:
		c.text(screen.Good, m.t("progress.done"))
	case p.Act.Fault != nil:
		c.text(screen.Bad, m.t("progress.failed", m.party(p.Act.At), m.fault(p.Act.Fault)))
		c.gap()
		c.text(screen.Plain, m.t("progress.again"))
	default:
		c.text(screen.Bold, m.step(p.Act))
		c.gap()
		c.text(screen.Plain, m.t("progress.wait"))
	}
	return c
}

// tick leaves for the secrets as soon as there are any.
func (progressView) tick(m *Model) []Effect {
	if p := m.pairing(); p != nil && p.Secrets != nil && m.snap.Pairing.Paired {
		m.goHome()
	}
	return nil
}

func (m *Model) party(name string) string { return known(m.Lang, "party.", name) }

func (m *Model) step(a pairing.Act) string {
	if a.Step == "" {
		return m.t("step.first")
	}
	return m.t("step."+string(a.Step), m.party(a.Member))
}

// secretsView shows the first passwords until somebody says that they are noted.
type secretsView struct{}

func (secretsView) title(m *Model) string { return m.t("title.secrets") }
func (secretsView) key(m *Model, k screen.Key) []Effect {
	if k.Code == screen.Enter {
		m.push(newConfirm("secrets", "confirm.noted", func(m *Model) []line {
			return paragraph(screen.Bold, m.t("secrets.sure"))
		}, ask(operator.Ask{Do: operator.Noted})))
	}
	return nil
}

func (secretsView) draw(m *Model) content {
	c := content{focus: -1, keys: "bottom.noted"}
	p := m.pairing()
	c.text(screen.Good, m.t("secrets.lead"))
	c.text(screen.Bold, m.t("secrets.note"))
	c.gap()
	for _, row := range []struct{ label, text string }{
		{"secrets.user", "admin"}, {"secrets.password", p.Secrets.Password}, {"secrets.rescue", p.Secrets.Rescue}, {"secrets.token", p.Secrets.Token},
	} {
		c.body = append(c.body, line{{margin, screen.Dim, m.t(row.label)}, {formAt, screen.Bold, row.text}})
	}
	c.gap()
	for _, port := range m.snap.Net.Ports {
		for _, a := range port.Addresses {
			if a.Addr().Is4() && !strings.HasPrefix(m.snap.Net.Service, a.Addr().String()+":") {
				c.body = labelled(c.body, formAt, m.t("secrets.console"), screen.Plain, fmt.Sprintf("https://%s:8443", a.Addr()))
			}
		}
	}
	if s := m.snap.Net.Service; s != "" {
		c.body = labelled(c.body, formAt, m.t("row.service"), screen.Plain, "http://"+strings.TrimSuffix(clip(s, 45), ":80"))
	}
	c.gap()
	if len(p.Pending) > 0 {
		c.text(screen.Warn, m.t("secrets.pending", m.party(p.Pending[0])))
	}
	return c
}

// newForget asks before what was prepared here is given up.
func newForget() view {
	return newConfirm("forget", "confirm.forget", func(m *Model) []line {
		return paragraph(screen.Warn, m.t("forget.means"))
	}, ask(operator.Ask{Do: operator.Forget}))
}

// newErase asks for a word before what lies on this machine is erased.
func newErase() view {
	return &formView{name: "erase", fields: []*field{text("erase", "", 12)}, do: func(m *Model, v *formView) []Effect {
		if !strings.EqualFold(strings.TrimSpace(v.get("erase").value()), m.t("erase.word")) {
			v.wrong = m.t("bad.erase")
			return nil
		}
		return m.act(ask(operator.Ask{Do: operator.Erase}))
	}}
}

// founded goes on after an answer of init. Whoever has left a question is not fetched
// back from where they type now: the menu goes on with the next one.
func (m *Model) founded(e Effect, waited bool) {
	switch e.Ask.Do {
	case operator.Begin:
		if waited {
			m.pop()
			m.push(newMeeting(false))
		}
	case operator.Meet:
		m.tell(false, yes(e.Ask.Witness, "notice.witness", "notice.twin"))
		if !waited {
			return
		}
		m.pop()
		if e.Ask.Witness {
			m.push(newFound())
		} else {
			m.push(newMeeting(true))
		}
	case operator.Found:
		m.goHome()
		m.push(progressView{})
	case operator.Replace:
		m.goHome()
		m.push(replaceView{})
	case operator.Cancel:
		if p := m.pairing(); p != nil { // whoever begins anew at once begins at the beginning
			now := *p
			now.Act = pairing.Act{}
			m.snap.Operator.Pairing = &now
		}
		m.goHome()
		m.tell(false, "notice.cancelled")
	case operator.Erase:
		m.goHome()
		m.push(&farewellView{deed: Reboot})
	case operator.Noted, operator.Forget:
		m.goHome()
	case operator.TryLan:
		m.goHome()
		m.push(newTrial(m))
	case operator.KeepLan, operator.UndoLan:
		m.goHome()
		m.tell(false, "notice."+string(e.Ask.Do))
	}
}

// reasonOf words a refusal of init.
func (m *Model) reasonOf(err error) (string, bool) {
	var f *pairing.Fault
	if !errors.As(err, &f) {
		return "", false
	}
	key := "pair." + string(f.Reason)
	if f.Reason == pairing.BadRequest {
		key = "bad." + f.Detail
	}
	if _, ok := words[key]; !ok {
		return clip(f.Error(), 120), true
	}
	if strings.Contains(words[key][0], "%s") {
		return m.t(key, clip(strings.ReplaceAll(f.Detail, "\n", "; "), 160)), true
	}
	return m.t(key), true
}
