package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"beffroi.dev/appliance/agents"
	"beffroi.dev/appliance/api"
	"beffroi.dev/pkg/qr"
)

func (p *program) agents(ctx context.Context, _ []string) error {
	var list []agents.Agent
	if err := p.client.call(ctx, "GET", "agents", nil, &list); err != nil {
		return advise(err, "")
	}
	var rows [][]string
	for _, a := range list {
		login, state := "", p.tr("open", "ouvert")
		if a.LastLogin != nil {
			login = p.when(*a.LastLogin)
		}
		if a.Closed != nil {
			state = p.tr("closed since ", "fermé depuis ") + p.when(*a.Closed)
		}
		rows = append(rows, row(a.Name, a.Display, p.when(a.Made), login, state))
	}
	return p.table(list, strings.Split(p.tr("NAME DISPLAYED MADE LAST-LOGIN STATE", "NOM AFFICHÉ CRÉÉ DERNIÈRE-CONNEXION ÉTAT"), " "), rows)
}

func (p *program) agentCreate() do {
	display, file := p.flags.String("display", "", ""), p.flags.String("password-file", "", "")
	return func(ctx context.Context, args []string) error {
		if strings.TrimSpace(*display) == "" {
			return p.usage("give --display \"First Last\": who it is", "donnez --display \"Prénom Nom\" : qui c'est")
		}
		in := api.NewAgent{Name: args[0], Display: *display}
		var err error
		if in.Password, err = p.password(*file, ""); err != nil {
			return err
		}
		return p.enrol(ctx, "agents", in, "choisissez un autre nom ; si la clé n'a pas été vue, « agent renew NAME --secret » en donne une autre ; un agent fermé revient par « agent reopen NAME »",
			"Agent %s is made.", "L'agent %s est créé.", args[0])
	}
}

func (p *program) agentRenew() do {
	word, secret := p.flags.Bool("password", false, ""), p.flags.Bool("secret", false, "")
	file := p.flags.String("password-file", "", "")
	return func(ctx context.Context, args []string) error {
		in := api.AgentRenewal{Secret: *secret}
		if *file == "" && !*word && !*secret {
			return p.usage("give --secret (a new telephone), --password (a new password) or both", "donnez --secret (nouveau téléphone), --password (nouveau mot de passe) ou les deux")
		}
		if *file != "" || *word {
			var err error
			if in.Password, err = p.password(*file, ""); err != nil {
				return err
			}
		}
		return p.enrol(ctx, "agents/"+segment(args[0])+"/renew", in, "cet agent est fermé : « agent reopen NAME » le rouvre",
			"Agent %s is renewed; the sessions have ended.", "L'agent %s est renouvelé ; ses sessions sont terminées.", args[0])
	}
}

func (p *program) agentReopen() do {
	file := p.flags.String("password-file", "", "")
	return func(ctx context.Context, args []string) error {
		var in api.AgentRenewal
		var err error
		if in.Password, err = p.password(*file, ""); err != nil {
			return err
		}
		return p.enrol(ctx, "agents/"+segment(args[0])+"/reopen", in, "cet agent n'est pas fermé : « agent renew NAME » change son mot de passe ou sa clé",
			"Agent %s may log in again.", "L'agent %s peut de nouveau se connecter.", args[0])
	}
}

func (p *program) agentClose() do {
	yes := p.flags.Bool("yes", false, "")
	return func(ctx context.Context, args []string) error {
		if err := p.sure(*yes, args[0], "Agent "+args[0]+" will be logged out and may not log in any more.", "L'agent "+args[0]+" sera déconnecté et ne pourra plus se connecter."); err != nil {
			return err
		}
		return p.change(ctx, "POST", "agents/"+segment(args[0])+"/close", nil, "Agent %s is closed.", "L'agent %s est fermé.", args[0])
	}
}

// enrol asks for what may make a one-time secret, and shows that. taken is French
// advice for when the agent's state does not allow it.
func (p *program) enrol(ctx context.Context, path string, in any, taken, en, fr string, args ...any) error {
	var e agents.Enrolment
	if err := p.client.call(ctx, "POST", path, in, &e); err != nil {
		return advise(err, taken)
	}
	if p.json {
		return p.asJSON(e)
	}
	if err := p.say(en, fr, args...); err != nil || e.Secret == "" {
		return err
	}
	return p.show(e)
}

// show prints a one-time secret: for typing, and on a terminal as a QR code.
func (p *program) show(e agents.Enrolment) error {
	if f, ok := p.out.(*os.File); ok && p.terminal(f) {
		code, err := qr.Encode(e.URI, qr.Low)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(p.out, "\n%s\n%s\n", p.tr("Scan this with an authenticator app on the agent's telephone:", "À scanner avec une application d'authentification sur le téléphone de l'agent :"), code.Terminal()); err != nil {
			return err
		}
	}
	if err := p.say("Or type this secret into the app: %s", "Ou saisissez cette clé dans l'application : %s", clean(e.Secret)); err != nil {
		return err
	}
	return p.say("It is shown this once and kept nowhere else. Lost? beffroictl agent renew --secret", "Elle n'est montrée que cette fois et n'est gardée nulle part ailleurs. Perdue ? beffroictl agent renew --secret")
}

// advise says in French what to do about what the node refused. taken is about the
// agent that was named.
func advise(err error, taken string) error {
	var e *api.Error
	if !errors.As(err, &e) {
		return err
	}
	fr := ""
	switch {
	case e.Code == api.Refused && e.Field == "name":
		fr = taken
	case e.Code == api.Refused:
		fr = "indiquez le groupe qui porte le service aux citoyens : « beffroictl service GROUP »"
	case e.Code == api.BadInput:
		fr = map[string]string{
			"name":     "nom : 1 à 40 lettres minuscules sans accent, chiffres et tirets, en commençant par une lettre",
			"display":  "nom affiché : 1 à 80 caractères",
			"password": "mot de passe : de 12 à 256 caractères",
		}[e.Field]
	}
	if fr == "" {
		return err
	}
	return &advised{err, fr}
}
