package rig

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"beffroi.dev/tools/lab/remote"
)

// API is the operator's interface of a node.
func (r *Rig) API(node string) (*remote.Node, error) {
	return remote.New(r.Node(node).API, r.TokenFile)
}

// Moved is what a node has copied to its twin since its store was started.
func (r *Rig) Moved(ctx context.Context, node string) (bytes uint64, err error) {
	api, err := r.API(node)
	if err != nil {
		return 0, err
	}
	s, err := api.Status(ctx)
	if err != nil {
		return 0, fmt.Errorf("status of %s: %w", node, err)
	}
	if s.Store == nil {
		return 0, fmt.Errorf("node %s says nothing of its store", node)
	}
	return s.Store.Counters.ResyncBytes, nil
}

// Enrol makes an account of an agent of the town hall, on the node that serves, and
// returns the secret for the one-time codes.
func (r *Rig) Enrol(ctx context.Context, name, display, password string) (secret string, err error) {
	var errs []error
	for _, n := range r.Nodes {
		if n.API == "" {
			continue
		}
		api, err := r.API(n.Name)
		if err != nil {
			return "", err
		}
		var made struct {
			Secret string `json:"secret"`
		}
		if err = api.Do(ctx, http.MethodPost, "/agents", map[string]string{"name": name, "display": display, "password": password}, &made); err == nil {
			return made.Secret, nil
		}
		errs = append(errs, fmt.Errorf("on %s: %w", n.Name, err))
	}
	return "", errors.Join(errs...)
}
