package control

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"beffroi.dev/pkg/quorum/cluster"
)

// proposal is the body of a propose request: the part of cluster's envelope that
// a service may choose. Identity and time are the node service's.
type proposal struct {
	Kind string          `json:"kind"`
	Do   json.RawMessage `json:"do"`
}

// encodeProposal borrows the names of the kinds from cluster's own encoding.
func encodeProposal(do cluster.Action) ([]byte, error) {
	c := cluster.Command{Do: do}
	b, err := c.Encode()
	if err != nil {
		return nil, fmt.Errorf("propose: %w", err)
	}
	var p proposal
	if err := json.Unmarshal(b, &p); err != nil {
		return nil, fmt.Errorf("propose: %w", err)
	}
	b, err = json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("propose: %w", err)
	}
	return b, nil
}

// decodeProposal reads what encodeProposal wrote, and refuses fields that this
// version does not know: the log would silently lose them.
func decodeProposal(b []byte) (cluster.Action, error) {
	var p proposal
	if err := strict(b, &p); err != nil {
		return nil, err
	}
	whole, err := json.Marshal(struct {
		V int `json:"v"`
		proposal
	}{cluster.CommandVersion, p})
	if err != nil {
		return nil, err
	}
	c, err := cluster.DecodeCommand(whole)
	if err != nil {
		return nil, err
	}
	if err := strict(p.Do, c.Do); err != nil {
		return nil, fmt.Errorf("%s: %w", p.Kind, err)
	}
	return c.Do, nil
}

// strict decodes one JSON value with known fields and nothing behind it.
func strict(b []byte, to any) error {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(to); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more behind the JSON value")
	}
	return nil
}
