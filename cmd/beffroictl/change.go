package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"

	"golang.org/x/term"

	"beffroi.dev/appliance/api"
	"beffroi.dev/pkg/quorum/cluster"
)

// segment is a name as part of a path.
func segment(name string) string { return url.PathEscape(name) }

// change asks for a change and says what became of it.
func (p *program) change(ctx context.Context, method, path string, in any, en, fr string, args ...any) error {
	var c api.Changed
	if err := p.client.call(ctx, method, path, in, &c); err != nil {
		return err
	}
	if p.json {
		return p.asJSON(c)
	}
	if !c.Changed {
		return p.say("Nothing to do: it is so already.", "Rien à faire : c'est déjà le cas.")
	}
	return p.say(en, fr, args...)
}

// sure asks the operator to type the name again, unless --yes was given.
func (p *program) sure(yes bool, name, en, fr string) error {
	if yes {
		return nil
	}
	f, ok := p.in.(*os.File)
	if !ok || !p.terminal(f) {
		return p.usage("%[2]s Give --yes to do it without being asked.", "%[3]s Donnez --yes pour le faire sans question.", name, en, fr)
	}
	fmt.Fprintf(p.err, "%s %s ", p.tr(en, fr), p.tr("Type its name to go on:", "Tapez son nom pour continuer :"))
	line, err := bufio.NewReader(p.in).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read answer: %w", err)
	}
	if strings.TrimSpace(line) != name {
		return p.usage("not confirmed; nothing was done", "non confirmé ; rien n'a été fait")
	}
	return nil
}

// sized collects --volume NAME=SIZE.
type sized []cluster.NewVolume

func (s *sized) String() string { return "" }

func (s *sized) Set(text string) error {
	name, size, ok := strings.Cut(text, "=")
	n, err := parseSize(size)
	if !ok || err != nil {
		return fmt.Errorf("%.60q: NAME=SIZE", text)
	}
	*s = append(*s, cluster.NewVolume{Name: name, SizeBytes: n})
	return nil
}

func (p *program) groupCreate() do {
	var volumes sized
	p.flags.Var(&volumes, "volume", "")
	prefer := p.flags.String("prefer", "", "")
	return func(ctx context.Context, args []string) error {
		if len(volumes) == 0 {
			return p.usage("give at least one --volume NAME=SIZE", "donnez au moins un --volume NOM=TAILLE")
		}
		in := api.NewGroup{Name: args[0], Prefer: *prefer, Volumes: volumes}
		var g api.Group
		if err := p.client.call(ctx, "POST", "groups", in, &g); err != nil {
			return err
		}
		if p.json {
			return p.asJSON(g)
		}
		return p.say("Group %s is there, led by node %s.", "Le groupe %s est là, mené par le nœud %s.", g.Name, g.Primary)
	}
}

func (p *program) groupDelete() do {
	yes := p.flags.Bool("yes", false, "")
	return func(ctx context.Context, args []string) error {
		if err := p.sure(*yes, args[0], "Group "+args[0]+" and all its volumes will be lost.", "Le groupe "+args[0]+" et tous ses volumes seront perdus."); err != nil {
			return err
		}
		return p.change(ctx, "DELETE", "groups/"+segment(args[0]), nil, "Group %s is deleted.", "Le groupe %s est supprimé.", args[0])
	}
}

func (p *program) groupSwitch(ctx context.Context, args []string) error {
	return p.change(ctx, "POST", "groups/"+segment(args[0])+"/switch", api.Target{Node: args[1]}, "Group %s is handed to node %s.", "Le groupe %s bascule sur le nœud %s.", args[0], args[1])
}

func (p *program) groupPrefer(ctx context.Context, args []string) error {
	return p.change(ctx, "POST", "groups/"+segment(args[0])+"/prefer", api.Target{Node: args[1]}, "Group %s prefers node %s.", "Le groupe %s préfère le nœud %s.", args[0], args[1])
}

func (p *program) vmStart(ctx context.Context, args []string) error {
	return p.change(ctx, "POST", "vms/"+segment(args[0])+"/start", nil, "VM %s will run.", "La VM %s va démarrer.", args[0])
}

func (p *program) vmShutdown(ctx context.Context, args []string) error {
	return p.change(ctx, "POST", "vms/"+segment(args[0])+"/shutdown", nil, "VM %s is asked to shut down.", "La VM %s est priée de s'arrêter.", args[0])
}

func (p *program) vmOff(ctx context.Context, args []string) error {
	return p.change(ctx, "POST", "vms/"+segment(args[0])+"/off", nil, "VM %s is switched off.", "La VM %s est coupée.", args[0])
}

func (p *program) vmDelete() do {
	keep, yes := p.flags.Bool("keep-disks", false, ""), p.flags.Bool("yes", false, "")
	return func(ctx context.Context, args []string) error {
		en, fr, query := "VM "+args[0]+" and its disks will be lost.", "La VM "+args[0]+" et ses disques seront perdus.", ""
		if *keep {
			en, fr, query = "VM "+args[0]+" will be deleted, its disks stay.", "La VM "+args[0]+" sera supprimée, ses disques restent.", "?keep_disks=true"
		}
		if err := p.sure(*yes, args[0], en, fr); err != nil {
			return err
		}
		return p.change(ctx, "DELETE", "vms/"+segment(args[0])+query, nil, "VM %s is deleted.", "La VM %s est supprimée.", args[0])
	}
}

func (p *program) jobCancel(ctx context.Context, args []string) error {
	return p.change(ctx, "DELETE", "jobs/"+segment(args[0]), nil, "Job %s is being cancelled.", "L'import %s est en cours d'annulation.", args[0])
}

func (p *program) userSet() do {
	role, file := p.flags.String("role", "", ""), p.flags.String("password-file", "", "")
	keep := p.flags.Bool("keep-password", false, "")
	return func(ctx context.Context, args []string) error {
		in := api.NewUser{Role: cluster.Role(*role)}
		if in.Role != cluster.RoleAdmin && in.Role != cluster.RoleOperator && in.Role != cluster.RoleViewer {
			return p.usage("give --role admin, operator or viewer", "donnez --role admin, operator ou viewer")
		}
		if !*keep {
			var err error
			if in.Password, err = p.password(*file, p.tr("; --keep-password keeps the old one", " ; --keep-password garde l'ancien")); err != nil {
				return err
			}
		}
		return p.change(ctx, "PUT", "users/"+segment(args[0]), in, "User %s is set.", "Le compte %s est enregistré.", args[0])
	}
}

// password reads a new password from a file, a terminal or the standard input. If there
// is none, or says what else there is.
func (p *program) password(file, or string) (string, error) {
	in := p.in
	if file != "" {
		f, err := os.Open(file)
		if err != nil {
			return "", p.usage("--password-file: %v", "--password-file : %v", err)
		}
		defer f.Close()
		in = f
	} else if f, ok := p.in.(*os.File); ok && p.terminal(f) {
		fmt.Fprint(p.err, p.tr("New password: ", "Nouveau mot de passe : "))
		first, err := term.ReadPassword(int(f.Fd()))
		fmt.Fprint(p.err, "\n"+p.tr("Once more: ", "Encore une fois : "))
		again, err2 := term.ReadPassword(int(f.Fd()))
		fmt.Fprintln(p.err)
		if err := errors.Join(err, err2); err != nil {
			return "", fmt.Errorf("read password: %w", err)
		}
		if string(first) != string(again) {
			return "", p.usage("the two passwords differ; nothing was done", "les deux mots de passe diffèrent ; rien n'a été fait")
		}
		return string(first), nil
	}
	line, err := bufio.NewReader(io.LimitReader(in, 1024)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read password: %w", err)
	}
	word := strings.TrimRight(line, "\r\n")
	if word == "" {
		return "", p.usage("no password was given%s", "aucun mot de passe donné%s", or)
	}
	return word, nil
}

func (p *program) userDelete() do {
	yes := p.flags.Bool("yes", false, "")
	return func(ctx context.Context, args []string) error {
		if err := p.sure(*yes, args[0], "Account "+args[0]+" will be deleted.", "Le compte "+args[0]+" sera supprimé."); err != nil {
			return err
		}
		return p.change(ctx, "DELETE", "users/"+segment(args[0]), nil, "User %s is deleted.", "Le compte %s est supprimé.", args[0])
	}
}

func (p *program) service(ctx context.Context, args []string) error {
	in := api.ServiceGroup{Group: args[0]}
	if in.Group == "none" {
		in.Group = ""
	}
	return p.change(ctx, "PUT", "service", in, "The citizen service is on group %s.", "Le service aux citoyens est sur le groupe %s.", args[0])
}
