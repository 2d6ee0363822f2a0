package main

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"
)

// do performs a command with its arguments.
type do func(ctx context.Context, args []string) error

// command is one entry of the table below. setup defines its options and returns
// what it does.
type command struct {
	words  string
	takes  []string // names of the arguments
	opts   string   // synopsis of the options
	en, fr string   // one line
	more   [2]string
	setup  func(p *program) do
}

func (c *command) synopsis() string {
	return strings.Join(strings.Fields(c.words+" "+strings.Join(c.takes, " ")+" "+c.opts), " ")
}

// commands is the table of all, in the order of the help; help itself comes last.
var commands = table()

func table() []command {
	none := func(f func(*program, context.Context, []string) error) func(*program) do {
		return func(p *program) do {
			return func(ctx context.Context, args []string) error { return f(p, ctx, args) }
		}
	}
	return []command{
		{words: "status", en: "the pair as this node sees it, with what needs attention", fr: "la paire vue de ce nœud, et ce qui demande attention", setup: none((*program).status)},
		{words: "nodes", en: "the nodes and the witness", fr: "les nœuds et le témoin", setup: none((*program).nodes)},
		{words: "groups", en: "the volume groups: where they are led, which sites are in sync", fr: "les groupes de volumes : où ils sont menés, quels sites sont à jour", setup: none((*program).groups)},
		{words: "volumes", en: "the volumes", fr: "les volumes", setup: none((*program).volumes)},
		{words: "vms", en: "the virtual machines", fr: "les machines virtuelles", setup: none((*program).vms)},
		{words: "users", en: "the accounts of the console", fr: "les comptes de la console", setup: none((*program).users)},
		{words: "events", opts: "[--after N]", en: "the pair's history, newest last", fr: "l'histoire de la paire, le plus récent en dernier", setup: (*program).events},
		{words: "jobs", en: "imports under way and past", fr: "les imports en cours et passés", setup: none((*program).jobs)},
		{words: "job show", takes: []string{"ID"}, en: "one job", fr: "un import", setup: none((*program).jobShow)},
		{words: "job cancel", takes: []string{"ID"}, en: "cancel a job and remove what it created", fr: "annuler un import et retirer ce qu'il a créé", setup: none((*program).jobCancel)},
		{words: "group create", takes: []string{"NAME"}, opts: "--volume NAME=SIZE [--volume ...] [--prefer NODE]",
			en: "create a volume group", fr: "créer un groupe de volumes", setup: (*program).groupCreate,
			more: [2]string{
				"SIZE is a number of bytes, or one with K, M, G or T (of 1024).",
				"SIZE est un nombre d'octets, ou suivi de K, M, G ou T (de 1024)."}},
		{words: "group delete", takes: []string{"NAME"}, opts: "[--yes]", en: "delete a group with its volumes", fr: "supprimer un groupe et ses volumes", setup: (*program).groupDelete},
		{words: "group switch", takes: []string{"NAME", "NODE"}, en: "planned switch: let another node lead a group", fr: "bascule planifiée : faire mener un groupe par un autre nœud", setup: none((*program).groupSwitch)},
		{words: "group prefer", takes: []string{"NAME", "NODE"}, en: "where a group is led when both sites are well", fr: "où un groupe est mené quand les deux sites vont bien", setup: none((*program).groupPrefer)},
		{words: "vm create", takes: []string{"NAME"}, opts: "--image FILE | --group GROUP [--cpus N] [--memory SIZE] [--firmware bios|uefi] [--nics N] [--size SIZE] [--prefer NODE] [--stopped] [--no-wait]",
			en: "create a VM from a raw or qcow2 image, or on a group that exists", fr: "créer une VM d'une image brute ou qcow2, ou sur un groupe existant", setup: (*program).vmCreate,
			more: [2]string{
				"--size makes the disk larger than the image. The VM starts unless --stopped is given. With --no-wait\nthe command ends after the upload; the job goes on by itself (beffroictl jobs).\n--nics is the number of its network cards on the town's network, 0 to 4, 1 unless it is said;\n\"beffroictl vms\" shows their addresses, for the town's DHCP server.",
				"--size rend le disque plus grand que l'image. La VM démarre, sauf avec --stopped. Avec --no-wait la\ncommande se termine après l'envoi ; l'import continue seul (beffroictl jobs).\n--nics est le nombre de ses cartes sur le réseau de la mairie, de 0 à 4, 1 par défaut ;\n« beffroictl vms » montre leurs adresses, pour le serveur DHCP de la mairie."}},
		{words: "vm start", takes: []string{"NAME"}, en: "let a VM run", fr: "démarrer une VM", setup: none((*program).vmStart)},
		{words: "vm shutdown", takes: []string{"NAME"}, en: "press a VM's power button; it is switched off if it does not obey", fr: "presser le bouton d'arrêt d'une VM ; elle est coupée si elle n'obéit pas", setup: none((*program).vmShutdown)},
		{words: "vm off", takes: []string{"NAME"}, en: "switch a VM off at once", fr: "couper une VM immédiatement", setup: none((*program).vmOff)},
		{words: "vm delete", takes: []string{"NAME"}, opts: "[--keep-disks] [--yes]", en: "stop and delete a VM, and its disks", fr: "arrêter et supprimer une VM, et ses disques", setup: (*program).vmDelete},
		{words: "vm serial", takes: []string{"NAME"}, en: "join a VM's serial line; leave with Enter ~ .", fr: "rejoindre la ligne série d'une VM ; quitter par Entrée ~ .", setup: none((*program).vmSerial)},
		{words: "vm logs", takes: []string{"NAME"}, opts: "[--bytes N]", en: "the end of a VM's serial output", fr: "la fin de la sortie série d'une VM", setup: (*program).vmLogs},
		{words: "user set", takes: []string{"NAME"}, opts: "--role admin|operator|viewer [--password-file FILE] [--keep-password]",
			en: "create or change an account", fr: "créer ou modifier un compte", setup: (*program).userSet,
			more: [2]string{
				"The password is asked for on a terminal, or read as the first line of the file or of the standard input.",
				"Le mot de passe est demandé sur un terminal, ou lu comme première ligne du fichier ou de l'entrée standard."}},
		{words: "user delete", takes: []string{"NAME"}, opts: "[--yes]", en: "delete an account", fr: "supprimer un compte", setup: (*program).userDelete},
		{words: "agents", en: "the counter agents: who answers citizens' reports at /agent", fr: "les agents de la mairie : qui répond aux signalements, sous /agent", setup: none((*program).agents)},
		{words: "agent create", takes: []string{"NAME"}, opts: "--display \"FIRST LAST\" [--password-file FILE]",
			en: "make a counter agent, and show the secret of the telephone's app once", fr: "créer un agent, et montrer une fois la clé pour l'application du téléphone", setup: (*program).agentCreate,
			more: [2]string{
				"The agent logs in at /agent of the citizens' address with NAME, the password and a code of the\ntelephone's authenticator app. On a terminal the secret is shown as a QR code too. The password is\nasked for on a terminal, or read as the first line of the file or of the standard input.",
				"L'agent se connecte sous /agent à l'adresse des habitants avec NAME, le mot de passe et un code de\nl'application d'authentification du téléphone. Sur un terminal la clé est aussi montrée en QR code.\nLe mot de passe est demandé sur un terminal, ou lu comme première ligne du fichier ou de l'entrée\nstandard."}},
		{words: "agent renew", takes: []string{"NAME"}, opts: "[--secret] [--password | --password-file FILE]",
			en: "a new secret (for a lost telephone), a new password, or both; the sessions end", fr: "nouvelle clé (téléphone perdu), nouveau mot de passe, ou les deux ; les sessions se terminent", setup: (*program).agentRenew},
		{words: "agent close", takes: []string{"NAME"}, opts: "[--yes]", en: "log an agent out for good; the name stays on what was written", fr: "déconnecter un agent pour de bon ; son nom reste sur ce qu'il a écrit", setup: (*program).agentClose},
		{words: "agent reopen", takes: []string{"NAME"}, opts: "[--password-file FILE]", en: "let a closed agent log in again, with a new password and a new secret", fr: "rouvrir un agent fermé, avec un nouveau mot de passe et une nouvelle clé", setup: (*program).agentReopen},
		{words: "service", takes: []string{"GROUP"}, en: "which group holds the citizen service; \"none\" for none", fr: "quel groupe porte le service aux citoyens ; « none » pour aucun", setup: none((*program).service)},
		{words: "help", en: "this list, or one command", fr: "cette liste, ou une commande", setup: none(func(*program, context.Context, []string) error { return nil })},
	}
}

const manual = `  --dir DIR          %s
  --socket FILE      %s
  --url URL          %s
  --token-file FILE  %s
  --ca FILE          %s
  --pin SHA256       %s
  --json             %s
  --lang fr|en       %s
`

// help explains one command, or lists all.
func (p *program) help(cmd *command, words []string) error {
	if cmd.words == "help" && len(words) > 0 {
		var err error
		if cmd, _, err = p.find(words); err != nil {
			// "help vm" explains the commands that begin so.
			return p.list(words[0]+" ", err)
		}
	}
	if cmd.words == "help" {
		if err := p.list("", nil); err != nil {
			return err
		}
		_, err := fmt.Fprintf(p.out, "\n"+p.tr("Options:", "Options :")+"\n"+manual+"\n%s\n",
			p.tr("state folder of the local node (BEFFROI_DIR, or /var/lib/beffroi)", "dossier d'état du nœud local (BEFFROI_DIR, ou /var/lib/beffroi)"),
			p.tr("the local socket, when it is elsewhere", "la prise locale, si elle est ailleurs"),
			p.tr("https://HOST:PORT of a node", "https://HÔTE:PORT d'un nœud"),
			p.tr("the administrator's token, for --url", "le jeton d'administration, pour --url"),
			p.tr("trust this authority or certificate (PEM)", "faire confiance à cette autorité ou ce certificat (PEM)"),
			p.tr("trust the certificate with this fingerprint alone", "ne faire confiance qu'au certificat de cette empreinte"),
			p.tr("listings and jobs as JSON", "listes et imports en JSON"),
			p.tr("language of messages (LC_ALL, LC_MESSAGES, LANG)", "langue des messages (LC_ALL, LC_MESSAGES, LANG)"),
			p.tr("Exit codes: 0 done, 1 failed, 2 wrong command line, 3 refused, 4 unreachable or undecided.",
				"Codes de sortie : 0 fait, 1 échec, 2 ligne de commande, 3 refusé, 4 injoignable ou indécis."))
		return err
	}
	more := cmd.more[0]
	if p.french {
		more = cmd.more[1]
	}
	_, err := fmt.Fprintf(p.out, "beffroictl %s\n  %s\n", cmd.synopsis(), p.tr(cmd.en, cmd.fr))
	if more != "" && err == nil {
		_, err = fmt.Fprintf(p.out, "\n%s\n", more)
	}
	return err
}

// list lists the commands that begin with something; none is the error.
func (p *program) list(prefix string, none error) error {
	w := tabwriter.NewWriter(p.out, 0, 0, 2, ' ', 0)
	found := false
	for _, c := range commands {
		if strings.HasPrefix(c.words, prefix) {
			found = true
			fmt.Fprintf(w, "  %s\t%s\n", strings.TrimSpace(c.words+" "+strings.Join(c.takes, " ")), p.tr(c.en, c.fr))
		}
	}
	if !found {
		return none
	}
	return w.Flush()
}
