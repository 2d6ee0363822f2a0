package rescue

import "maps"

// machineAdvices is what a machine says of its own life, and of its time of day.
var machineAdvices = map[string][2]string{
	"what.ending":        {"Cette machine s'éteint ou redémarre, comme demandé.", "This machine powers off or reboots, as asked."},
	"what.ending-guests": {"Cette machine s'éteint ou redémarre : elle attend l'arrêt de %d machine(s) virtuelle(s).", "This machine powers off or reboots: it waits for %d virtual machine(s) to shut down."},
	"what.ending-groups": {"Cette machine s'éteint ou redémarre : elle passe ses volumes à l'autre nœud, %d sur %d.", "This machine powers off or reboots: it hands its volumes to the other node, %d of %d."},
	"do.ending":          {"Rien. Le demander une seconde fois éteint sans attendre.", "Nothing. Asking a second time ends it without waiting."},
	"what.trial":         {"Cette version n'a pas fait ses preuves : %s", "This version has not proved itself: %s"},
	"do.trial":           {"Le nœud sert, mais il n'a pas d'autre version à reprendre. Signalez ce message au prestataire.", "The node serves, but has no other version to go back to. Report this message to your supplier."},
	"trial.on-trial":     {"à l'essai", "on trial"}, "trial.good": {"validée", "proved good"}, "trial.failed": {"essai manqué", "trial failed"},
	"trial.back":           {"Si cela dure, ce nœud redémarre et reprend de lui-même la version précédente.", "If this lasts, this node reboots and goes back to the release before by itself."},
	"cause.phase-fails":    {"une étape du démarrage échoue (%s)", "a phase of the boot fails (%s)"},
	"cause.node-silent":    {"le service node ne répond pas (%s)", "the node service does not answer (%s)"},
	"cause.no-majority":    {"la majorité des votes n'est pas joignable", "no majority of the votes can be reached"},
	"cause.twin-unknown":   {"l'autre nœud n'est ni vu, ni déclaré absent", "the other node is neither seen nor declared absent"},
	"cause.store-silent":   {"le service block ne donne pas de nouvelles", "the block service gives no news"},
	"cause.store-failed":   {"le stockage est en panne (%s)", "the store has failed (%s)"},
	"cause.mirror-behind":  {"le miroir de « %s » n'en est pas où les votes le disent", "the mirror of “%s” is not where the votes say"},
	"cause.vm-silent":      {"le service vm ne donne pas de nouvelles", "the vm service gives no news"},
	"cause.no-citizens":    {"la paire n'a pas encore de service aux citoyens", "the pair has no citizen service yet"},
	"cause.page-silent":    {"la page des citoyens ne répond pas (%s)", "the citizens' page does not answer (%s)"},
	"cause.not-blessed":    {"elle est bonne, mais n'a pas pu être marquée ainsi sur le disque (%s)", "it is good, but could not be marked so on the disk (%s)"},
	"what.clock-wrong":     {"L'horloge du nœud %s est fausse.", "The clock of node %s is wrong."},
	"do.clock-wrong":       {"Rien : elle est corrigée toute seule d'après l'autre nœud et le témoin.", "Nothing: it is corrected by itself from the other node and the witness."},
	"what.clock-corrected": {"L'horloge du nœud %s était fausse au démarrage.", "The clock of node %s was wrong at its start."},
	"do.clock-corrected":   {"Faites remplacer la pile de la carte mère à la prochaine occasion.", "Have the battery of the main board replaced at the next occasion."},
	"what.clocks-differ":   {"Les horloges ne s'accordent pas.", "The clocks do not agree."},
	"do.clocks-differ":     {"Vérifiez la date et l'heure sur l'autre nœud et sur le témoin ; remettez le troisième en service.", "Check date and time on the other node and on the witness; bring the third one back."},
}

func init() { maps.Copy(words, machineAdvices) }
