package rescue

import "maps"

// replaceWords are every word about the replacement of a lost node.
var replaceWords = map[string][2]string{
	"menu.replace": {"Remplacer l'autre nœud", "Replace the other node"}, "title.replace": {"Remplacer l'autre nœud", "Replace the other node"},
	"title.newcomer":      {"Remplacer l'autre nœud : le code", "Replace the other node: the code"},
	"form.newcomer.intro": {"Le code que montre l'écran de la nouvelle machine.", "The code that the new machine's screen shows."},
	"deed.look":           {"recherche de la nouvelle machine", "looking for the new machine"}, "deed.replace": {"remplacement", "replacement"},
	"confirm.replace": {"Oui, une nouvelle machine la remplace", "Yes, a new machine takes its place"}, "confirm.back": {"Retour", "Back"},

	"replace.alive":   {"Le nœud %s répond : un nœud qui répond ne se remplace pas. Pour changer son serveur, éteignez-le d'abord ; ou déplacez simplement son disque dans le nouveau.", "Node %s answers: a node that answers is not replaced. To change its server, power it off first; or simply move its disk into the new one."},
	"replace.novotes": {"Ce nœud est seul : il faut que le témoin réponde pour remplacer l'autre. Vérifiez le témoin et le réseau.", "This node is alone: the witness must answer to replace the other one. Check the witness and the network."},
	"replace.means":   {"Une nouvelle machine prend la place du nœud %s (%s).", "A new machine takes the place of node %s (%s)."},
	"replace.never":   {"La machine perdue, si elle revient un jour, sera REFUSÉE pour toujours : il faudra l'effacer. Si seul son serveur est en panne et que son disque est sain, mettez plutôt ce disque dans le nouveau serveur : rien d'autre à faire.", "The lost machine, should it ever return, is REFUSED for ever: it must be erased then. If only its server failed and its disk is sound, rather put that disk into the new server: nothing else is to be done."},
	"replace.copies":  {"Toutes les données d'ici sont copiées sur la nouvelle. Les services s'interrompent quelques secondes, une fois.", "All data from here is copied to the new one. Services stop for some seconds, once."},
	"replace.before":  {"Avant : écrivez la même image sur le nouveau serveur, câblez-le comme l'ancien, allumez-le. Il montre un code.", "Before: write the same image to the new server, cable it as the old one, switch it on. It shows a code."},
	"replace.done":    {"La nouvelle machine fait partie de la paire ; l'ancienne est refusée désormais.", "The new machine belongs to the pair; the old one is refused from now on."},
	"replace.next":    {"Elle démarre et reçoit toutes les données, toute seule. L'état le montre (Échap).", "It starts and receives all data, by itself. The status shows it (Esc)."},
	"replace.wait":    {"N'éteignez aucune machine.", "Switch no machine off."},
	"replace.failed":  {"Ce n'est pas fait : %s", "It is not done: %s"},
	"replace.again":   {"Rien n'a changé, rien n'est perdu. Entrée pour recommencer, avec le code que la nouvelle machine montre alors.", "Nothing has changed, nothing is lost. Enter to begin again, with the code that the new machine then shows."},
	"replace.goeson":  {"Ce nœud continue d'essayer tout seul. Pour prendre une autre machine : Entrée, et son code.", "This node goes on trying by itself. To take another machine: Enter, and its code."},

	"step.voting": {"Vote : %s change de machine...", "Vote: %s becomes another machine..."}, "step.replaced": {"Remplacé : %s.", "Replaced: %s."},
	"pair.twin-alive": {"L'autre nœud répond : un nœud qui répond ne se remplace pas.", "The other node answers: a node that answers is not replaced."},
	"pair.refused":    {"Les règles de la paire le refusent encore (%s). Attendez que ce nœud serve tout seul, puis recommencez.", "The rules of the pair still refuse it (%s). Wait until this node serves alone, then begin again."},
	"pair.no-votes":   {"Le vote ne répond pas (%s). Il faut ce nœud et le témoin.", "The vote does not answer (%s). It takes this node and the witness."},
}

func init() { maps.Copy(words, replaceWords) }
