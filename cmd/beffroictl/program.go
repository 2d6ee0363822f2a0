package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"beffroi.dev/appliance/api"
	"beffroi.dev/appliance/config"
)

// The exit codes.
const (
	exitOK = iota
	exitFailed
	exitUsage
	exitRefused
	exitUnreachable
)

// program is one run of the command line, with everything it touches.
type program struct {
	in       io.Reader
	out, err io.Writer
	env      func(string) string
	now      func() time.Time
	zone     *time.Location
	terminal func(*os.File) bool

	french bool
	json   bool
	client *client
	flags  *flag.FlagSet
}

// usageError is a wrong command line.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

// advised is a refusal that the command itself can advise about, in French; the node
// advises in English.
type advised struct {
	error
	fr string
}

func (e *advised) Unwrap() error { return e.error }

// tr chooses the words of the reader's language.
func (p *program) tr(en, fr string) string {
	if p.french {
		return fr
	}
	return en
}

func (p *program) usage(en, fr string, args ...any) error {
	return &usageError{fmt.Sprintf(p.tr(en, fr), args...)}
}

// language is what LANG and its like ask for.
func language(env func(string) string) bool {
	for _, key := range []string{"LC_ALL", "LC_MESSAGES", "LANG"} {
		if v := env(key); v != "" {
			return strings.HasPrefix(v, "fr")
		}
	}
	return false
}

// run does what the arguments say and returns the exit code.
func (p *program) run(ctx context.Context, args []string) int {
	p.french = language(p.env)
	err := p.perform(ctx, args)
	switch {
	case err == nil || errors.Is(err, flag.ErrHelp):
		return exitOK
	default:
		return p.complain(err)
	}
}

// options are those of every command.
type options struct {
	dir, socket, url, tokenFile, ca, pin, lang string
	help                                       bool
}

func (p *program) perform(ctx context.Context, args []string) error {
	var o options
	dir := p.env("BEFFROI_DIR")
	if dir == "" {
		dir = "/var/lib/beffroi"
	}
	p.flags = flag.NewFlagSet("beffroictl", flag.ContinueOnError)
	p.flags.SetOutput(io.Discard)
	p.flags.StringVar(&o.dir, "dir", dir, "")
	p.flags.StringVar(&o.socket, "socket", "", "")
	p.flags.StringVar(&o.url, "url", "", "")
	p.flags.StringVar(&o.tokenFile, "token-file", "", "")
	p.flags.StringVar(&o.ca, "ca", "", "")
	p.flags.StringVar(&o.pin, "pin", "", "")
	p.flags.StringVar(&o.lang, "lang", "", "")
	p.flags.BoolVar(&p.json, "json", false, "")
	p.flags.BoolVar(&o.help, "help", false, "")
	p.flags.BoolVar(&o.help, "h", false, "")

	cmd, rest, err := p.find(args)
	if err != nil {
		return err
	}
	do := cmd.setup(p)
	words, err := p.words(rest)
	if o.lang != "" {
		p.french = strings.HasPrefix(o.lang, "fr")
	}
	if o.help || cmd.words == "help" {
		return p.help(cmd, words)
	}
	if err != nil {
		return p.usage("%v", "%v", err)
	}
	if len(words) != len(cmd.takes) {
		return p.usage("use: beffroictl %s", "usage : beffroictl %s", cmd.synopsis())
	}
	socket := o.socket
	if socket == "" {
		socket = config.Dir(o.dir).Socket("console")
	}
	if p.client, err = newClient(socket, o); err != nil {
		return &usageError{err.Error()}
	}
	return do(ctx, words)
}

// words takes options wherever they stand and returns the rest.
func (p *program) words(args []string) ([]string, error) {
	var words []string
	for len(args) > 0 {
		if err := p.flags.Parse(args); err != nil {
			return words, err
		}
		args = p.flags.Args()
		if len(args) > 0 {
			words, args = append(words, args[0]), args[1:]
		}
	}
	return words, nil
}

// find splits the arguments into a command and the rest. Options may stand before
// the command's words, with their values.
func (p *program) find(args []string) (*command, []string, error) {
	var before []string
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		name, _, whole := strings.Cut(strings.TrimLeft(args[0], "-"), "=")
		f := p.flags.Lookup(name)
		if f == nil {
			return nil, nil, p.usage("option %s is not known; beffroictl help lists all", "l'option %s est inconnue ; « beffroictl help » donne la liste", args[0])
		}
		n := 1
		if b, ok := f.Value.(interface{ IsBoolFlag() bool }); !whole && (!ok || !b.IsBoolFlag()) {
			n = 2
		}
		n = min(n, len(args))
		before, args = append(before, args[:n]...), args[n:]
	}
	for i := range commands {
		c := &commands[i]
		own := strings.Fields(c.words)
		if len(args) >= len(own) && strings.Join(args[:len(own)], " ") == c.words {
			return c, append(before, args[len(own):]...), nil
		}
	}
	if len(args) == 0 {
		return &commands[len(commands)-1], before, nil // help
	}
	return nil, nil, p.usage("there is no command %q; beffroictl help lists all", "la commande %q n'existe pas ; « beffroictl help » donne la liste", strings.Join(args[:min(2, len(args))], " "))
}

// complain says what went wrong, with advice, and chooses the exit code.
func (p *program) complain(err error) int {
	code := exitFailed
	var usage *usageError
	var away *unreachable
	var said *api.Error
	hint := ""
	switch {
	case errors.As(err, &usage):
		code = exitUsage
	case errors.As(err, &away):
		code, hint = exitUnreachable, p.awayHint(away)
	case errors.As(err, &said):
		code, hint = p.judge(said)
		if known := (*advised)(nil); errors.As(err, &known) {
			hint = p.tr(said.Hint, known.fr)
		}
	case errors.Is(err, context.Canceled):
		err = errors.New(p.tr("interrupted", "interrompu"))
	}
	fmt.Fprintln(p.err, "beffroictl:", err)
	if hint != "" {
		fmt.Fprintln(p.err, "  →", hint)
	}
	return code
}

// judge turns the code of an answer into an exit code and advice.
func (p *program) judge(e *api.Error) (int, string) {
	hint := e.Hint
	switch e.Code {
	case api.Unavailable:
		return exitUnreachable, p.tr(hint, "la paire ne peut pas répondre ou décider maintenant ; voyez « beffroictl status » et réessayez")
	case api.Failed:
		return exitFailed, p.tr(hint, "le journal du nœud en dit peut-être plus")
	case api.Elsewhere:
		return exitRefused, p.tr("ask node "+e.Node+" (--url, or run beffroictl there)", "adressez-vous au nœud "+e.Node+" (--url, ou beffroictl sur place)")
	case api.Unauthenticated:
		return exitRefused, p.tr("give the administrator's token with --token-file; it lies in the file \"token\" of the node's state folder",
			"donnez le jeton d'administration avec --token-file ; c'est le fichier « token » du dossier d'état du nœud")
	case api.Forbidden:
		return exitRefused, p.tr(hint, "demandez à un administrateur")
	case api.NotFound:
		return exitRefused, p.tr("the listings (groups, vms, users, agents, jobs) show what there is", "les listes (groups, vms, users, agents, jobs) montrent ce qui existe")
	case api.BadImage:
		return exitRefused, p.tr(hint, "il faut une image brute ou qcow2 sans image de base ; rien n'a été créé")
	case api.Refused:
		return exitRefused, p.tr(hint, "les règles de la paire ne le permettent pas ; réessayer ne changera rien")
	case api.TooLarge:
		return exitRefused, p.tr(hint, "envoyez l'image en qcow2 (qemu-img convert -c)")
	}
	return exitRefused, p.tr(hint, "")
}

func (p *program) awayHint(e *unreachable) string {
	switch {
	case e.fingerprint != "":
		return fmt.Sprintf(p.tr("if this is your node's certificate (its serial console shows the fingerprint), add --pin %s", "si c'est bien le certificat de votre nœud (sa console série montre l'empreinte), ajoutez --pin %s"), e.fingerprint)
	case e.local:
		return p.tr("is the node running here, and is --dir its state folder? To ask another machine use --url", "le nœud tourne-t-il ici, et --dir est-il son dossier d'état ? Pour une autre machine, utilisez --url")
	}
	return p.tr("check the address and the network, or ask the other node", "vérifiez l'adresse et le réseau, ou adressez-vous à l'autre nœud")
}
