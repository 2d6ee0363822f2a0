package firewall

import "fmt"

// guestMark is on a packet that the bridge took for a guest's, on its way to the node.
const guestMark = 0x6265ff

// BridgeRules are the rules for frames in the bridge of the lan and the guests, in order:
// first of those to the node itself, then of those that pass. What no rule drops goes on.
//
// A frame is a guest's when it did not come by the lan's card, or when its source is an
// address of the pair's guests: those of the twin come by the card. A guest that takes
// another address would be a machine of the town for the twin; so what such a one sends
// by its tap may not go to the nodes' ports, wherever these are.
func BridgeRules(c Config) (input, forward []Rule) {
	if c.LanCard == "" && c.Guests == "" {
		return nil, nil
	}
	if c.LanCard != "" {
		input = append(input, Rule{NotIn: c.LanCard, Mark: true})
	}
	if c.Guests != "" {
		input = append(input, Rule{Source: c.Guests, Mark: true})
	}
	if c.LanCard != "" && c.Guests != "" {
		for _, r := range ports(Rule{NotIn: c.LanCard, NotSource: c.Guests}, append(append([]uint16(nil), c.Console...), c.Votes...)) {
			r.Drop = DropForged
			forward = append(forward, r)
		}
	}
	return input, forward
}

// sourceBytes are the first bytes of an ethernet address, as Config.Guests gives them.
func sourceBytes(prefix string) ([]byte, error) {
	var b []byte
	for i := 0; i < len(prefix); i += 3 {
		var n byte
		if _, err := fmt.Sscanf(prefix[i:min(i+3, len(prefix))]+":", "%02x:", &n); err != nil {
			return nil, fmt.Errorf("guests: %q is no beginning of an ethernet address", prefix)
		}
		b = append(b, n)
	}
	if len(b) > 6 || len(b) > 0 && len(prefix) != 3*len(b)-1 {
		return nil, fmt.Errorf("guests: %q is no beginning of an ethernet address", prefix)
	}
	return b, nil
}
