package rescue

import "maps"

// clockAdvices is what is wrong with the time of day, and what to do about it.
var clockAdvices = map[string][2]string{
	"what.clock-wrong":     {"L'horloge du nœud %s est fausse.", "The clock of node %s is wrong."},
	"do.clock-wrong":       {"Rien : elle est corrigée toute seule d'après l'autre nœud et le témoin.", "Nothing: it is corrected by itself from the other node and the witness."},
	"what.clock-corrected": {"L'horloge du nœud %s était fausse au démarrage.", "The clock of node %s was wrong at its start."},
	"do.clock-corrected":   {"Faites remplacer la pile de la carte mère à la prochaine occasion.", "Have the battery of the main board replaced at the next occasion."},
	"what.clocks-differ":   {"Les horloges ne s'accordent pas.", "The clocks do not agree."},
	"do.clocks-differ":     {"Vérifiez la date et l'heure sur l'autre nœud et sur le témoin ; remettez le troisième en service.", "Check date and time on the other node and on the witness; bring the third one back."},
}

func init() { maps.Copy(words, clockAdvices) }
