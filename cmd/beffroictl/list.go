package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"beffroi.dev/appliance/api"
	"beffroi.dev/appliance/status"
	"beffroi.dev/pkg/ident"
)

// row is short for a table's line.
func row(cells ...string) []string { return cells }

func number[T ~int | ~uint64 | ~uint32 | ~int64](n T) string { return fmt.Sprint(n) }

// problems are the words for the codes of status.Problem.
var problems = map[string][2]string{
	"twin-silent":    {"the other node is silent", "l'autre nœud ne répond pas"},
	"witness-silent": {"the witness is silent", "le témoin ne répond pas"},
	"link-down":      {"a link is down", "une liaison est coupée"},
	"solo":           {"runs on a single copy", "fonctionne sur une seule copie"},
	"resync":         {"is being brought up to date", "est en cours de remise à jour"},
	"store-failed":   {"the store has failed", "le stockage est en panne"},
	"store-full":     {"the store is full", "le stockage est plein"},
	"vm-paused":      {"a VM is stopped by its disk", "une VM est arrêtée par son disque"},
	"no-majority":    {"no majority: nothing can be decided", "pas de majorité : rien ne peut être décidé"},
}

var levels = map[string][2]string{"error": {"error", "erreur"}, "warning": {"warning", "attention"}, "info": {"info", "info"}}

func (p *program) word(words map[string][2]string, key string) string {
	w, ok := words[key]
	if !ok {
		return key
	}
	return p.tr(w[0], w[1])
}

// named gives a member's name.
func named(n status.Node, id ident.Node) string {
	for _, m := range n.Members {
		if m.ID == id {
			return m.Name
		}
	}
	if id == 0 {
		return ""
	}
	return id.String()
}

func (p *program) fetchStatus(ctx context.Context) (n status.Node, err error) {
	err = p.client.call(ctx, "GET", "status", nil, &n)
	return n, err
}

func (p *program) status(ctx context.Context, _ []string) error {
	n, err := p.fetchStatus(ctx)
	if err != nil {
		return err
	}
	if p.json {
		return p.asJSON(n)
	}
	fmt.Fprintf(p.out, p.tr("Node %s, site %s, %s (profile %s)\n", "Nœud %s, site %s, %s (profil %s)\n"), n.Name, n.Site, p.when(n.Time), n.Profile)
	leader := named(n, n.Votes.Leader)
	if leader == "" {
		leader = p.tr("none", "aucun")
	}
	fmt.Fprintf(p.out, p.tr("Vote: leader %s, term %d; a majority vouches for this node: %s\n", "Vote : meneur %s, mandat %d ; une majorité répond de ce nœud : %s\n"),
		leader, n.Votes.Term, p.yes(n.Votes.Vouched))
	if s := n.Store; s != nil {
		fmt.Fprintf(p.out, p.tr("Store: %s free of %s; linked with the twin: %s\n", "Stockage : %s libres sur %s ; lié au jumeau : %s\n"), p.size(s.Free), p.size(s.Capacity), p.yes(s.Linked))
		if s.Failed != "" {
			fmt.Fprintf(p.out, p.tr("Store FAILED: %s\n", "Stockage EN PANNE : %s\n"), clean(s.Failed))
		}
	}
	if c := n.Citizen; c != nil {
		what := p.tr("standing by", "en attente")
		switch {
		case c.Serving:
			what = p.tr("serving", "en service")
		case c.Proxy:
			what = p.tr("handing citizens on to the other node", "transmet les citoyens à l'autre nœud")
		}
		fmt.Fprintf(p.out, p.tr("Citizens: %s %s\n", "Citoyens : %s %s\n"), what, c.URL)
	}
	if len(n.Problem) == 0 {
		fmt.Fprintln(p.out, p.tr("Nothing needs attention.", "Rien ne demande attention."))
	}
	for _, x := range n.Problem {
		colon := p.tr(": ", " : ")
		line := p.word(levels, x.Level) + colon
		if x.Object != "" {
			line += x.Object + colon
		}
		fmt.Fprintln(p.out, clean(line+p.word(problems, x.Code)))
	}
	return nil
}

func (p *program) nodes(ctx context.Context, _ []string) error {
	n, err := p.fetchStatus(ctx)
	if err != nil {
		return err
	}
	var rows [][]string
	for _, m := range n.Members {
		var paths []string
		for _, l := range n.Links {
			if l.Peer == m.ID && l.Kind == "vote" {
				state := l.Path
				if !l.Up {
					state += p.tr(" down", " coupé")
				}
				paths = append(paths, state)
			}
		}
		role := ""
		if m.ID == n.Votes.Leader {
			role = p.tr("leader", "meneur")
		}
		kind := m.Kind
		if kind == "witness" {
			kind = p.tr(kind, "témoin")
		} else {
			kind = p.tr(kind, "nœud")
		}
		if m.ID == n.ID {
			paths = []string{p.tr("(this one)", "(celui-ci)")}
		}
		rows = append(rows, row(m.Name, kind, m.Site, p.yes(m.Up), role, strings.Join(paths, ", ")))
	}
	return p.table(n.Members, strings.Split(p.tr("NAME KIND SITE UP VOTE PATHS", "NOM GENRE SITE JOIGNABLE VOTE CHEMINS"), " "), rows)
}

func (p *program) groups(ctx context.Context, _ []string) error {
	var list []api.Group
	if err := p.client.call(ctx, "GET", "groups", nil, &list); err != nil {
		return err
	}
	if p.json {
		return p.asJSON(list)
	}
	n, err := p.fetchStatus(ctx)
	if err != nil {
		return err
	}
	var rows [][]string
	for _, g := range list {
		var bytes int64
		for _, v := range g.Volumes {
			bytes += v.SizeBytes
		}
		use := g.VM
		if g.Citizen {
			use = p.tr("(citizens)", "(citoyens)")
		}
		rows = append(rows, row(g.Name, g.Primary, g.Preferred, strings.Join(g.InSync, ","), p.condition(n, g), number(len(g.Volumes)), p.size(bytes), number(g.Epoch), use))
	}
	return p.table(list, strings.Split(p.tr("NAME LED-BY PREFERS IN-SYNC STATE VOLUMES SIZE EPOCH USED-BY", "NOM MENÉ-PAR PRÉFÈRE À-JOUR ÉTAT VOLUMES TAILLE ÉPOQUE UTILISÉ-PAR"), " "), rows)
}

// condition says how a group is, in one word or two.
func (p *program) condition(n status.Node, g api.Group) string {
	word := p.tr("two copies", "deux copies")
	if len(g.InSync) < 2 {
		word = p.tr("single copy", "une seule copie")
	}
	if n.Store != nil {
		for _, l := range n.Store.Groups {
			if l.ID == g.ID && l.Resync != nil && l.Resync.Running {
				word = fmt.Sprintf(p.tr("resync %d%%", "remise à jour %d %%"), l.Resync.Percent())
			}
		}
	}
	if g.Durability == "buffered" {
		word += p.tr(", buffered", ", en mémoire")
	}
	return word
}

func (p *program) volumes(ctx context.Context, _ []string) error {
	var list []api.Volume
	if err := p.client.call(ctx, "GET", "volumes", nil, &list); err != nil {
		return err
	}
	var rows [][]string
	for _, v := range list {
		rows = append(rows, row(v.Group+"/"+v.Name, number(v.ID), p.size(v.SizeBytes), v.Primary, strings.Join(v.InSync, ",")))
	}
	return p.table(list, strings.Split(p.tr("VOLUME NO SIZE LED-BY IN-SYNC", "VOLUME N° TAILLE MENÉ-PAR À-JOUR"), " "), rows)
}

var states = map[string][2]string{
	"stopped": {"stopped", "arrêtée"}, "starting": {"starting", "démarre"}, "running": {"running", "en marche"}, "paused": {"paused", "en pause"},
	"paused-io": {"stopped by its disk", "arrêtée par son disque"}, "shutting-down": {"shutting down", "s'arrête"}, "failed": {"failed", "en panne"},
}

func (p *program) vms(ctx context.Context, _ []string) error {
	var list []api.VM
	if err := p.client.call(ctx, "GET", "vms", nil, &list); err != nil {
		return err
	}
	var rows [][]string
	for _, v := range list {
		state, since := p.word(states, v.State), ""
		if v.State == "" {
			state = p.tr("(ask node "+v.Node+")", "(voir nœud "+v.Node+")")
		}
		if v.Since != nil {
			since = p.since(*v.Since)
		}
		cause := ""
		if v.State == "failed" || v.State == "paused-io" {
			cause = v.Cause
		}
		rows = append(rows, row(v.Name, v.Node, state, since, p.yes(v.Run), number(v.CPUs), p.size(int64(v.MemoryMB)<<20), v.Accel, p.cards(v), cause))
	}
	return p.table(list, strings.Split(p.tr("NAME NODE STATE SINCE WANTED CPUS MEMORY ACCEL NETWORK-CARDS CAUSE", "NOM NŒUD ÉTAT DEPUIS VOULUE PROC. MÉMOIRE ACCÉL. CARTES-RÉSEAU CAUSE"), " "), rows)
}

// cards are the addresses that the town's DHCP server has to know.
func (p *program) cards(v api.VM) string {
	var list []string
	for _, n := range v.NICs {
		list = append(list, n.MAC)
	}
	text := strings.Join(list, ",")
	if v.Network == status.NetworkProcess {
		text += p.tr(" (no network in process mode)", " (pas de réseau en mode processus)")
	}
	return text
}

func (p *program) users(ctx context.Context, _ []string) error {
	var list []api.User
	if err := p.client.call(ctx, "GET", "users", nil, &list); err != nil {
		return err
	}
	var rows [][]string
	for _, u := range list {
		rows = append(rows, row(u.Name, string(u.Role), p.yes(u.TOTP)))
	}
	return p.table(list, strings.Split(p.tr("NAME ROLE SECOND-FACTOR", "NOM RÔLE SECOND-FACTEUR"), " "), rows)
}

func (p *program) events() do {
	after := p.flags.Uint64("after", 0, "")
	return func(ctx context.Context, _ []string) error { return p.eventList(ctx, *after) }
}

func (p *program) jobs(ctx context.Context, _ []string) error {
	var list []api.Job
	if err := p.client.call(ctx, "GET", "jobs", nil, &list); err != nil {
		return err
	}
	return p.jobTable(list, list)
}

func (p *program) jobTable(v any, list []api.Job) error {
	var rows [][]string
	for _, j := range list {
		done, took := "", p.since(j.Started)
		if j.TotalBytes > 0 {
			done = fmt.Sprintf("%d%% / %s", j.Percent, p.size(j.TotalBytes))
		}
		if j.Ended != nil {
			took = p.lasting(j.Ended.Sub(j.Started))
		}
		rows = append(rows, row(number(j.ID), j.Kind, j.VM, j.User, p.word(phases, string(j.Phase)), done, p.when(j.Started), took, j.Error))
	}
	return p.table(v, strings.Split(p.tr("JOB KIND VM BY PHASE DONE STARTED TOOK ERROR", "N° GENRE VM PAR PHASE FAIT DÉBUT DURÉE ERREUR"), " "), rows)
}

func (p *program) jobShow(ctx context.Context, args []string) error {
	var j api.Job
	if err := p.client.call(ctx, "GET", "jobs/"+segment(args[0]), nil, &j); err != nil {
		return err
	}
	return p.jobTable(j, []api.Job{j})
}

// eventList prints the history.
func (p *program) eventList(ctx context.Context, after uint64) error {
	n, err := p.fetchStatus(ctx)
	if err != nil {
		return err
	}
	var list []status.Event
	if err := p.client.call(ctx, "GET", "events?after="+strconv.FormatUint(after, 10), nil, &list); err != nil {
		return err
	}
	var rows [][]string
	for _, e := range list {
		what := e.New
		if e.Old != "" {
			what = e.Old + " → " + e.New
		}
		rows = append(rows, row(number(e.No), p.when(e.Time), e.Kind, named(n, e.Node), e.Group, e.VM, what, e.Cause))
	}
	return p.table(list, strings.Split(p.tr("NO TIME KIND NODE GROUP VM CHANGE CAUSE", "N° HEURE GENRE NŒUD GROUPE VM CHANGEMENT CAUSE"), " "), rows)
}
