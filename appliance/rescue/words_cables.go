package rescue

import "maps"

// cableAdvices is what is plugged wrong, and what to do about it.
var cableAdvices = map[string][2]string{
	"what.cable-identity":   {"Une autre machine du réseau se présente comme ce nœud, sur %s.", "Another machine on the network says that it is this node, on %s."},
	"do.cable-identity":     {"Éteignez le serveur qui a été copié ou réinstallé par erreur. Un nœud ne se copie pas : on en installe un neuf.", "Switch off the server that was copied or installed by mistake. A node is never copied: a new one is installed."},
	"what.cable-on-lan":     {"Une fibre et le réseau de la mairie se touchent : %s.", "A fibre and the town's network meet: %s."},
	"do.cable-on-lan":       {"Débranchez ce câble du commutateur : une fibre relie directement les deux nœuds.", "Unplug this cable from the switch: a fibre joins the two nodes directly."},
	"what.cable-loop":       {"Un câble relie ce nœud à lui-même : %s.", "A cable joins this node to itself: %s."},
	"do.cable-loop":         {"Branchez-le sur l'autre nœud.", "Plug it into the other node."},
	"what.cable-foreign":    {"Un nœud d'une autre paire est au bout de %s.", "A node of another pair is at the end of %s."},
	"do.cable-foreign":      {"Suivez le câble : il doit relier les deux nœuds de cette paire.", "Follow the cable: it must join the two nodes of this pair."},
	"what.cable-crossed":    {"Les deux fibres sont croisées : %s.", "The two fibres are crossed: %s."},
	"do.cable-crossed":      {"Échangez les deux câbles, à un seul bout. Sinon, un des nœuds les suit dans la minute.", "Swap the two cables, at one end only. Otherwise one of the nodes follows them within a minute."},
	"what.cable-wrong-port": {"Une fibre est branchée sur une carte sans rôle : %s.", "A fibre is plugged into a card without a role: %s."},
	"do.cable-wrong-port":   {"Rebranchez-la sur le port de la fibre de ce nœud. Sinon, ce nœud la suit dans la minute.", "Plug it into the port of that fibre on this node. Otherwise this node follows it within a minute."},
	"row.cards":             {"Cartes", "Cards"},
	"card.at":               {"%s\u00a0: %s", "%s: %s"},
	"card.none":             {"pas de carte", "no card"},
	"card.from":             {"trouvée là, pas sur %s", "found there, not in %s"},
	"what.cable-far-port":   {"À l'autre bout, le câble de %s est sur une carte sans rôle.", "At the other end the cable of %s is in a card without a role."},
	"do.cable-far-port":     {"Sur l'autre nœud, rebranchez ce câble sur le port de la fibre ; sinon il le suit dans la minute.", "On the other node, plug this cable into the port of the fibre; otherwise it follows it within a minute."},
	"what.cable-mtu":        {"Les grandes trames ne passent pas sur %s.", "Large frames do not pass on %s."},
	"do.cable-mtu":          {"Autorisez les trames de 9000 octets (jumbo) sur tout équipement entre les deux sites.", "Allow frames of 9000 bytes (jumbo) on all equipment between the two sites."},
	"what.cable-no-carrier": {"Pas de signal sur %s.", "No signal on %s."},
	"do.cable-no-carrier":   {"Vérifiez le câble, la fibre et les modules optiques aux deux bouts.", "Check the cable, the fibre and the optical modules at both ends."},
	"what.cable-no-peer":    {"Il y a un signal sur %s, mais l'autre nœud n'y parle pas.", "There is a signal on %s, but the other node does not speak there."},
	"do.cable-no-peer":      {"Suivez le câble : il doit mener à l'autre nœud.", "Follow the cable: it must lead to the other node."},
	"what.cable-no-card":    {"Une carte réseau a disparu : %s.", "A network card is gone: %s."},
	"do.cable-no-card":      {"Éteignez ce nœud par le menu et vérifiez la carte ; l'autre nœud continue.", "Power this node off by the menu and check the card; the other node goes on."},
}

func init() { maps.Copy(words, cableAdvices) }
