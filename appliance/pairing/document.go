package pairing

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"

	"beffroi.dev/appliance/config"
	"beffroi.dev/appliance/seed"
	"beffroi.dev/pkg/host/netcfg"
	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/cluster"
)

// About is what a member tells its founder of itself.
type About struct {
	Kind    cluster.Kind `json:"kind"`
	Release string       `json:"release"`
	Replica ident.UUID   `json:"replica"`
	Lan     netcfg.Lan   `json:"lan,omitzero"`
	Fibres  []FibrePort  `json:"fibres,omitempty"`
	// Address is where a witness wants to be reached, host:port; empty: where the
	// founder reached it.
	Address string `json:"address,omitempty"`
	Taken   *Fault `json:"taken,omitempty"` // why it cannot be founded
}

// FibrePort is a card that can play a fibre's role.
type FibrePort struct {
	Name string      `json:"name"`
	Port netcfg.Port `json:"port"`
}

// Document is what a founder hands one member: all that a seed holds but the key.
type Document struct {
	Founding ident.UUID      `json:"founding"`
	Founder  []byte          `json:"founder"` // public key
	Node     *config.Node    `json:"node"`
	Network  json.RawMessage `json:"network,omitempty"`
	Token    string          `json:"token,omitempty"`
	Password string          `json:"password,omitempty"`
	Rescue   string          `json:"rescue,omitempty"`
}

// Validate reports all faults; self is the public key of the member that has it.
func (d *Document) Validate(self ed25519.PublicKey) error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if d.Founding.IsZero() {
		bad("the founding has no identity")
	}
	if d.Node == nil {
		bad("no configuration")
		return fault(BadDocument, errors.Join(errs...).Error())
	}
	if err := d.Node.Validate(); err != nil {
		bad("configuration: %w", err)
	}
	if !bytes.Equal(d.Node.Me().PublicKey, self) {
		bad("it is for another member")
	}
	founder := false
	for _, m := range d.Node.Members {
		founder = founder || m.Kind == cluster.KindNode && bytes.Equal(m.PublicKey, d.Founder)
	}
	if !founder {
		bad("its founder is no node of the pair")
	}
	if d.Node.Me().Kind == cluster.KindNode {
		var c netcfg.Config
		if err := json.Unmarshal(d.Network, &c); err != nil {
			bad("network: %w", err)
		} else if err := c.WithDefaults().Validate(); err != nil {
			bad("network: %w", err)
		}
	}
	if len(errs) > 0 {
		return fault(BadDocument, errors.Join(errs...).Error())
	}
	return nil
}

// seed joins the document with the key that never left this member.
func (d *Document) seed(key ed25519.PrivateKey) *seed.Seed {
	return &seed.Seed{Node: d.Node, Key: key.Seed(), Network: d.Network, Token: d.Token, Password: d.Password, Rescue: d.Rescue}
}
