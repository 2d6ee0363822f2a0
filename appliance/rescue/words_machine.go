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
	"what.clock-wrong":     {"L'horloge du nœud %s est fausse.", "The clock of node %s is wrong."},
	"do.clock-wrong":       {"Rien : elle est corrigée toute seule d'après l'autre nœud et le témoin.", "Nothing: it is corrected by itself from the other node and the witness."},
	"what.clock-corrected": {"L'horloge du nœud %s était fausse au démarrage.", "The clock of node %s was wrong at its start."},
	"do.clock-corrected":   {"Faites remplacer la pile de la carte mère à la prochaine occasion.", "Have the battery of the main board replaced at the next occasion."},
	"what.clocks-differ":   {"Les horloges ne s'accordent pas.", "The clocks do not agree."},
	"do.clocks-differ":     {"Vérifiez la date et l'heure sur l'autre nœud et sur le témoin ; remettez le troisième en service.", "Check date and time on the other node and on the witness; bring the third one back."},
}

func init() { maps.Copy(words, machineAdvices) }
