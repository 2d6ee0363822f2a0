package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"

	"beffroi.dev/appliance/status"
	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/cluster"
)

func names(s *cluster.State, nodes []ident.Node) []string {
	list := make([]string, 0, len(nodes))
	for _, n := range nodes {
		list = append(list, s.Nodes[n].Name)
	}
	return list
}

// groupNamed finds a group of the state.
func groupNamed(s *cluster.State, name string) (cluster.Group, error) {
	for _, g := range s.Groups {
		if g.Name == name {
			return g, nil
		}
	}
	return cluster.Group{}, notFound("group", name, "groups")
}

func groupOf(s *cluster.State, g cluster.Group) Group {
	out := Group{
		ID: g.ID, Name: g.Name, Primary: s.Nodes[g.Config.Primary].Name, Preferred: s.Nodes[g.Preferred].Name, InSync: names(s, g.Config.InSync),
		Epoch: g.Config.Epoch, Durability: g.Durability, Citizen: s.Service.Group == g.ID, Volumes: []Volume{},
	}
	for _, v := range g.Volumes {
		out.Volumes = append(out.Volumes, Volume{ID: v.ID, Name: v.Name, Group: g.Name, SizeBytes: v.SizeBytes, Primary: out.Primary, InSync: out.InSync})
	}
	for _, v := range s.VMs {
		if v.Group == g.ID {
			out.VM = v.Name
		}
	}
	return out
}

func (a *API) groups(w http.ResponseWriter, r *http.Request, _ caller) error {
	s, err := a.state(r.Context())
	if err != nil {
		return err
	}
	list := []Group{}
	for _, id := range slices.Sorted(maps.Keys(s.Groups)) {
		list = append(list, groupOf(s, s.Groups[id]))
	}
	write(w, http.StatusOK, list)
	return nil
}

func (a *API) volumes(w http.ResponseWriter, r *http.Request, _ caller) error {
	s, err := a.state(r.Context())
	if err != nil {
		return err
	}
	list := []Volume{}
	for _, id := range slices.Sorted(maps.Keys(s.Groups)) {
		list = append(list, groupOf(s, s.Groups[id]).Volumes...)
	}
	write(w, http.StatusOK, list)
	return nil
}

func (a *API) createGroup(w http.ResponseWriter, r *http.Request, who caller) error {
	var in NewGroup
	if err := read(w, r, &in); err != nil {
		return err
	}
	s, err := a.state(r.Context())
	if err != nil {
		return err
	}
	do := cluster.CreateGroup{Name: in.Name, Preferred: a.cfg.Self, Durability: in.Durability, Volumes: in.Volumes}
	if do.Durability == "" {
		do.Durability = cluster.Strict
	}
	if in.Prefer != "" {
		if do.Preferred, err = nodeNamed(s, in.Prefer); err != nil {
			return err
		}
	}
	if g, err := groupNamed(s, in.Name); err == nil && same(g, do) {
		write(w, http.StatusOK, groupOf(s, g)) // asked for twice, most likely
		return nil
	}
	res, err := a.propose(r.Context(), &do)
	if err != nil {
		return err
	}
	a.audit(r.Context(), who, cluster.Event{Group: res.Group}, "create group "+in.Name)
	if s, err = a.state(r.Context()); err != nil {
		return err
	}
	write(w, http.StatusCreated, groupOf(s, s.Groups[res.Group]))
	return nil
}

// same tells whether a group is what was asked for.
func same(g cluster.Group, do cluster.CreateGroup) bool {
	return g.Durability == do.Durability && g.Preferred == do.Preferred &&
		slices.EqualFunc(g.Volumes, do.Volumes, func(v cluster.Volume, n cluster.NewVolume) bool {
			return v.Name == n.Name && v.SizeBytes == n.SizeBytes
		})
}

func (a *API) deleteGroup(w http.ResponseWriter, r *http.Request, who caller) error {
	s, err := a.state(r.Context())
	if err != nil {
		return err
	}
	g, err := groupNamed(s, r.PathValue("name"))
	if err != nil {
		return err
	}
	if _, err := a.propose(r.Context(), &cluster.DeleteGroup{Group: g.ID}); err != nil {
		return err
	}
	a.audit(r.Context(), who, cluster.Event{Group: g.ID}, "delete group "+g.Name)
	write(w, http.StatusOK, Changed{true})
	return nil
}

// target reads the group of the path and the node of the body.
func (a *API) target(w http.ResponseWriter, r *http.Request) (s *cluster.State, g cluster.Group, to ident.Node, err error) {
	var in Target
	if err = read(w, r, &in); err != nil {
		return
	}
	if s, err = a.state(r.Context()); err != nil {
		return
	}
	if g, err = groupNamed(s, r.PathValue("name")); err != nil {
		return
	}
	to, err = nodeNamed(s, in.Node)
	return
}

func (a *API) preferGroup(w http.ResponseWriter, r *http.Request, who caller) error {
	s, g, to, err := a.target(w, r)
	if err != nil {
		return err
	}
	if g.Preferred == to {
		write(w, http.StatusOK, Changed{})
		return nil
	}
	if _, err := a.propose(r.Context(), &cluster.SetPreferred{Group: g.ID, Node: to}); err != nil {
		return err
	}
	a.audit(r.Context(), who, cluster.Event{Group: g.ID}, "prefer "+s.Nodes[to].Name+" for group "+g.Name)
	write(w, http.StatusOK, Changed{true})
	return nil
}

// switchGroup asks the block service, which prepares a switch with the twin and
// then proposes it. Only that of the leading node can.
func (a *API) switchGroup(w http.ResponseWriter, r *http.Request, who caller) error {
	s, g, to, err := a.target(w, r)
	if err != nil {
		return err
	}
	name, primary := s.Nodes[to].Name, g.Config.Primary
	switch {
	case primary == to:
		write(w, http.StatusOK, Changed{})
		return nil
	case !g.Config.Has(to):
		return &Error{Code: Refused, Message: fmt.Sprintf("node %s is not in sync for group %s", name, g.Name), Hint: "wait until its resync has ended"}
	case primary != a.cfg.Self:
		leads := s.Nodes[primary].Name
		return &Error{Code: Elsewhere, Node: leads, Message: fmt.Sprintf("group %s is led by node %s, which alone can hand it over", g.Name, leads), Hint: "ask node " + leads}
	}
	if err := a.askSwitch(r.Context(), g.ID, to); err != nil {
		return err
	}
	a.audit(r.Context(), who, cluster.Event{Group: g.ID}, "switch group "+g.Name+" to "+name)
	write(w, http.StatusOK, Changed{true})
	return nil
}

func (a *API) askSwitch(ctx context.Context, group ident.Group, to ident.Node) error {
	ctx, cancel := context.WithTimeout(ctx, proposeBound)
	defer cancel()
	body, err := json.Marshal(struct {
		Group ident.Group `json:"group"`
		To    ident.Node  `json:"to"`
	}{group, to})
	if err != nil {
		return fmt.Errorf("switch: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://block/v1/switch", bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("switch: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := a.block.Do(req)
	if err != nil {
		return &Error{Code: Unavailable, Message: "the block service of this node does not answer: " + err.Error(), Hint: "it may be starting; try again"}
	}
	defer resp.Body.Close()
	if resp.StatusCode < 300 {
		return nil
	}
	b, _ := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	var said struct {
		Error string `json:"error"`
	}
	if json.Unmarshal(b, &said) != nil || said.Error == "" {
		said.Error = resp.Status
	}
	code := Refused
	if resp.StatusCode >= 500 {
		code = Unavailable
	}
	return &Error{Code: code, Message: "switch: " + said.Error}
}

func (a *API) setService(w http.ResponseWriter, r *http.Request, who caller) error {
	var in ServiceGroup
	if err := read(w, r, &in); err != nil {
		return err
	}
	s, err := a.state(r.Context())
	if err != nil {
		return err
	}
	var g cluster.Group
	if in.Group != "" {
		if g, err = groupNamed(s, in.Group); err != nil {
			return err
		}
	}
	if s.Service.Group == g.ID {
		write(w, http.StatusOK, Changed{})
		return nil
	}
	for _, v := range s.VMs {
		if v.Group == g.ID {
			return &Error{Code: Refused, Message: fmt.Sprintf("group %s holds the disks of VM %s", g.Name, v.Name), Hint: "create a group of its own for the citizen service"}
		}
	}
	if _, err := a.propose(r.Context(), &cluster.SetService{Group: g.ID}); err != nil {
		return err
	}
	a.audit(r.Context(), who, cluster.Event{Group: g.ID}, "citizen service on group "+in.Group)
	write(w, http.StatusOK, Changed{true})
	return nil
}

func (a *API) events(w http.ResponseWriter, r *http.Request, _ caller) error {
	var after uint64
	if text := r.URL.Query().Get("after"); text != "" {
		var err error
		if after, err = strconv.ParseUint(text, 10, 64); err != nil {
			return badInput("after %.30q: use the number of an event", text)
		}
	}
	s, err := a.state(r.Context())
	if err != nil {
		return err
	}
	list := []status.Event{}
	for _, e := range s.Events {
		if e.No > after {
			list = append(list, status.Event{
				No: e.No, Time: time.UnixMilli(e.WallMS).UTC(), Kind: e.Kind, Node: e.Node, Group: s.Groups[e.Group].Name, VM: s.VMs[e.VM].Name,
				Old: e.Old, New: e.New, Cause: e.Cause,
			})
		}
	}
	write(w, http.StatusOK, list)
	return nil
}
