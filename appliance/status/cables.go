package status

// Cable is a port of a node and what is at the other end, as its init sees it.
type Cable struct {
	Role    string `json:"role"`           // lan, fibre1, fibre2; empty: a card without a role
	Card    string `json:"card"`           // empty: the role has none
	From    string `json:"from,omitempty"` // of a fibre that init found: the card in which it was not
	Carrier bool   `json:"carrier"`
	Speed   int    `json:"speed_mbit,omitempty"`
	Twin    bool   `json:"twin"`             // the twin was heard on it
	MTU     int    `json:"mtu,omitempty"`    // the size that must pass
	Passed  bool   `json:"mtu_passed"`       // it did, there and back
	Faults  []Flaw `json:"faults,omitempty"` // worst first
}

// Flaw is what is wrong with a cable. Code is stable: that of pkg/host/netcfg/probe.
type Flaw struct {
	Code string `json:"code"` // no-carrier, no-peer, crossed, on-lan, loop, wrong-port, far-port, foreign, identity, mtu, no-card
	Text string `json:"text"` // for logs, in English
}

// cablesVersion is the version of cables.json. History: 1 first.
const cablesVersion = 1

const maxCables = 64

// SaveCables writes what init sees.
func SaveCables(path string, list []Cable) error { return save(path, "cables", cablesVersion, list) }

// LoadCables reads what init saw last.
func LoadCables(path string) ([]Cable, error) {
	list, err := load[[]Cable](path, "cables", cablesVersion)
	return list[:min(len(list), maxCables)], err
}
