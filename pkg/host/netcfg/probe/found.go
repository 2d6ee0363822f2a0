package probe

// Found names, by role, the cards in which fibres to the twin end although they are
// configured elsewhere, or nowhere. It says so only for certain: the card hears one
// machine, the twin, which says that this is its end of the fibre; and the fibre is not
// heard where it is configured.
//
// A cable has two ends, and both nodes may follow it: then they would change places for
// ever. Where the twin can see the same disorder, with its own ports in the same doubt,
// only the node with the higher number follows. That is so when the card has another
// fibre's role already (they are crossed), or when the twin is heard at the configured
// card too.
func Found(self uint64, reports []Report) map[string]string {
	home, found, twice := map[string]*Report{}, map[string]string{}, map[string]bool{}
	for i := range reports {
		home[reports[i].Role] = &reports[i]
	}
	for _, r := range reports {
		f := RoleOf(r.PeerRole)
		if !r.Sole || !f.fibre() || r.PeerRole == r.Role || r.Role == Lan.String() {
			continue
		}
		h := home[r.PeerRole]
		if h != nil && h.PeerRole == r.PeerRole { // it is where it belongs
			continue
		}
		if inDoubt := RoleOf(r.Role).fibre() || h != nil && h.Peer != 0; inDoubt && self < r.Peer {
			continue
		}
		twice[r.PeerRole] = found[r.PeerRole] != ""
		found[r.PeerRole] = r.Card
	}
	for role, is := range twice {
		if is { // two cards claim it
			delete(found, role)
		}
	}
	return found
}
