package boot

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"beffroi.dev/appliance/config"
	"beffroi.dev/appliance/seed"
	"beffroi.dev/pkg/host/netcfg"
	"beffroi.dev/pkg/host/netcfg/serviceaddr"
)

// LoadNetwork reads the network's configuration of a state folder. A folder
// without one gives os.ErrNotExist: a node that is a process of somebody's machine.
func LoadNetwork(d config.Dir) (netcfg.Config, error) {
	var c netcfg.Config
	b, err := os.ReadFile(seed.Network(d))
	if err != nil {
		return c, fmt.Errorf("network configuration: %w", err)
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&c); err != nil {
		return c, fmt.Errorf("network configuration: %w", err)
	}
	c = c.WithDefaults()
	if err := c.Validate(); err != nil {
		return c, fmt.Errorf("network configuration: %w", err)
	}
	return c, nil
}

// network brings ports and addresses up. A service address that an earlier life
// left behind goes first: who holds it is decided anew.
func (s *system) network(ctx context.Context) (string, error) {
	cfg, err := LoadNetwork(s.dir)
	if err != nil {
		return "", err
	}
	if err := serviceaddr.Stale(); err != nil {
		return "", err
	}
	st, err := s.net.Apply(ctx, cfg)
	if err != nil {
		return "", err
	}
	var faults []error
	for _, f := range st.Faults {
		faults = append(faults, f)
	}
	if len(faults) > 0 {
		return "", errors.Join(faults...)
	}
	var notes []string
	for role, card := range st.Roles {
		notes = append(notes, fmt.Sprintf("%s %s", role, card.Name))
	}
	slices.Sort(notes)
	return strings.Join(notes, ", "), nil
}
