package api

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"

	"beffroi.dev/appliance/status"
	"beffroi.dev/pkg/guest/qemu"
	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/cluster"
)

// Sizes of a VM for whom asks without saying.
const (
	defaultCPUs     = 1
	defaultMemoryMB = 1024
	defaultFirmware = "bios"
)

func vmNamed(s *cluster.State, name string) (cluster.VM, error) {
	for _, v := range s.VMs {
		if v.Name == name {
			return v, nil
		}
	}
	return cluster.VM{}, notFound("VM", name, "vms")
}

// vmOf joins what is voted with what this node knows.
func (a *API) vmOf(ctx context.Context, s *cluster.State) func(cluster.VM) VM {
	ctx, cancel := context.WithTimeout(ctx, askBound)
	defer cancel()
	n, _ := a.ctl.Status(ctx) // without it the states are not known
	return func(v cluster.VM) VM {
		out := VM{
			ID: v.ID, Name: v.Name, Group: s.Groups[v.Group].Name, CPUs: v.CPUs, MemoryMB: v.MemoryMB, Firmware: v.Firmware, Run: v.Run,
			Node: s.Nodes[v.Node].Name, Generation: v.Generation, NICs: []NIC{},
		}
		for _, mac := range v.Addresses() {
			out.NICs = append(out.NICs, NIC{MAC: mac})
		}
		for _, l := range n.VMs {
			if l.ID == v.ID && v.Node == a.cfg.Self {
				since := l.Since
				out.State, out.Cause, out.Since, out.Accel, out.Network = l.State, l.Cause, &since, l.Accel, l.Network
			}
		}
		if out.State == "" && (v.Node == 0 || !v.Run && v.Node == a.cfg.Self) {
			out.State = "stopped"
		}
		return out
	}
}

func (a *API) vms(w http.ResponseWriter, r *http.Request, _ caller) error {
	s, err := a.state(r.Context())
	if err != nil {
		return err
	}
	list, of := []VM{}, a.vmOf(r.Context(), s)
	for _, id := range slices.Sorted(maps.Keys(s.VMs)) {
		list = append(list, of(s.VMs[id]))
	}
	write(w, http.StatusOK, list)
	return nil
}

// withDefaults fills in what was not said, and refuses what no node could run.
func (in NewVM) withDefaults() (NewVM, error) {
	in.Group = cmp.Or(in.Group, in.Name)
	in.CPUs, in.MemoryMB = cmp.Or(in.CPUs, defaultCPUs), cmp.Or(in.MemoryMB, defaultMemoryMB)
	in.Firmware = cmp.Or(in.Firmware, defaultFirmware)
	if nics := cluster.DefaultCards; in.NICs == nil {
		in.NICs = &nics
	}
	least := cluster.MinMemoryMB
	switch {
	case ident.CheckName(in.Name) != nil:
		return in, badInput("VM: %v", ident.CheckName(in.Name))
	case in.CPUs < 1 || in.CPUs > qemu.MaxCPUs:
		return in, badInput("%d processors: use 1 to %d", in.CPUs, qemu.MaxCPUs)
	case in.MemoryMB < least || in.MemoryMB > cluster.MaxMemoryMB:
		return in, badInput("%d MB of memory: use %d to %d", in.MemoryMB, least, cluster.MaxMemoryMB)
	case in.Firmware != "bios" && in.Firmware != "uefi":
		return in, badInput("firmware %.20q: use bios or uefi", in.Firmware)
	case *in.NICs < 0 || *in.NICs > cluster.MaxCards:
		return in, badInput("%d network cards (nics): use 0 to %d", *in.NICs, cluster.MaxCards)
	}
	return in, nil
}

func (in NewVM) action(g ident.Group) *cluster.CreateVM {
	return &cluster.CreateVM{Name: in.Name, Group: g, CPUs: in.CPUs, MemoryMB: in.MemoryMB, Firmware: in.Firmware, Run: in.Run, Cards: in.NICs}
}

func (a *API) createVM(w http.ResponseWriter, r *http.Request, who caller) error {
	var in NewVM
	if err := read(w, r, &in); err != nil {
		return err
	}
	in, err := in.withDefaults()
	if err != nil {
		return err
	}
	s, err := a.state(r.Context())
	if err != nil {
		return err
	}
	g, err := groupNamed(s, in.Group)
	if err != nil {
		return err
	}
	if v, err := vmNamed(s, in.Name); err == nil && v.Group == g.ID && v.CPUs == in.CPUs && v.MemoryMB == in.MemoryMB && v.Firmware == in.Firmware && len(v.Cards) == *in.NICs {
		write(w, http.StatusOK, a.vmOf(r.Context(), s)(v)) // asked for twice, most likely
		return nil
	}
	res, err := a.propose(r.Context(), in.action(g.ID))
	if err != nil {
		return err
	}
	a.audit(r.Context(), who, cluster.Event{VM: res.VM, Group: g.ID}, "create VM "+in.Name)
	if s, err = a.state(r.Context()); err != nil {
		return err
	}
	write(w, http.StatusCreated, a.vmOf(r.Context(), s)(s.VMs[res.VM]))
	return nil
}

func (a *API) startVM(w http.ResponseWriter, r *http.Request, who caller) error {
	return a.setRun(w, r, who, true, "start VM ")
}

func (a *API) shutDownVM(w http.ResponseWriter, r *http.Request, who caller) error {
	return a.setRun(w, r, who, false, "shut down VM ")
}

func (a *API) setRun(w http.ResponseWriter, r *http.Request, who caller, run bool, what string) error {
	v, _, err := a.vm1(r)
	if err != nil {
		return err
	}
	if v.Run == run {
		write(w, http.StatusOK, Changed{})
		return nil
	}
	if _, err := a.propose(r.Context(), &cluster.UpdateVM{VM: v.ID, Run: &run}); err != nil {
		return err
	}
	a.audit(r.Context(), who, cluster.Event{VM: v.ID}, what+v.Name)
	write(w, http.StatusOK, Changed{true})
	return nil
}

// vm1 is the VM of the path.
func (a *API) vm1(r *http.Request) (cluster.VM, *cluster.State, error) {
	s, err := a.state(r.Context())
	if err != nil {
		return cluster.VM{}, nil, err
	}
	v, err := vmNamed(s, r.PathValue("name"))
	return v, s, err
}

// offVM places the VM nowhere: its generation moves on, so whichever node runs it
// kills it at once, and its disks are closed to it.
func (a *API) offVM(w http.ResponseWriter, r *http.Request, who caller) error {
	v, _, err := a.vm1(r)
	if err != nil {
		return err
	}
	if !v.Run && v.Node == 0 {
		write(w, http.StatusOK, Changed{})
		return nil
	}
	if err := a.unplace(r.Context(), v, "switched off by "+who.name); err != nil {
		return err
	}
	a.audit(r.Context(), who, cluster.Event{VM: v.ID}, "force off VM "+v.Name)
	write(w, http.StatusOK, Changed{true})
	return nil
}

// unplace takes a VM's wish to run and its place away. Somebody may place it in
// between; then it is tried again.
func (a *API) unplace(ctx context.Context, v cluster.VM, cause string) error {
	if v.Run {
		run := false
		if _, err := a.propose(ctx, &cluster.UpdateVM{VM: v.ID, Run: &run}); err != nil {
			return err
		}
	}
	for range 3 {
		s, err := a.state(ctx)
		if err != nil {
			return err
		}
		now, ok := s.VMs[v.ID]
		if !ok || now.Node == 0 {
			return nil
		}
		_, err = a.propose(ctx, &cluster.PlaceVM{VM: v.ID, Base: now.Generation, Cause: cause})
		if err == nil {
			return nil
		}
		if explain(err).Code != Refused {
			return err
		}
	}
	return &Error{Code: Unavailable, Message: fmt.Sprintf("VM %s is placed again and again", v.Name), Hint: "try again"}
}

func (a *API) deleteVM(w http.ResponseWriter, r *http.Request, who caller) error {
	keep, err := strconv.ParseBool(cmp.Or(r.URL.Query().Get("keep_disks"), "false"))
	if err != nil {
		return badInput("keep_disks: use true or false")
	}
	v, s, err := a.vm1(r)
	if err != nil {
		return err
	}
	// What is begun is finished, also when the client goes away.
	ctx := context.WithoutCancel(r.Context())
	if err := a.unplace(ctx, v, "deleted by "+who.name); err != nil {
		return err
	}
	if v.Node == a.cfg.Self {
		a.awaitStop(ctx, v.ID)
	}
	if _, err := a.propose(ctx, &cluster.DeleteVM{VM: v.ID}); err != nil {
		return err
	}
	what := "delete VM " + v.Name + ", keep group " + s.Groups[v.Group].Name
	if !keep {
		if _, err := a.propose(ctx, &cluster.DeleteGroup{Group: v.Group}); err != nil {
			return fmt.Errorf("the VM is deleted, its group %s is not: %w", s.Groups[v.Group].Name, err)
		}
		what = "delete VM " + v.Name + " and group " + s.Groups[v.Group].Name
	}
	a.audit(ctx, who, cluster.Event{VM: v.ID, Group: v.Group}, what)
	write(w, http.StatusOK, Changed{true})
	return nil
}

// awaitStop waits a while until QEMU is gone. Its disks are closed to it already,
// so it is only for the eye that the order is kept.
func (a *API) awaitStop(ctx context.Context, id ident.VM) {
	ctx, cancel := context.WithTimeout(ctx, a.cfg.StopWait)
	defer cancel()
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	for {
		n, err := a.ctl.Status(ctx)
		if err == nil && !slices.ContainsFunc(n.VMs, func(l status.VM) bool { return l.ID == id && l.PID != 0 }) {
			return
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return
		}
	}
}
