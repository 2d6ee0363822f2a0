package guests

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"time"

	"beffroi.dev/appliance/status"
	"beffroi.dev/pkg/guest/vm"
)

// reportBound is for one report: the node service answers from memory.
const reportBound = 2 * time.Second

// reporter gives the newest part of the status to the node service and never
// keeps the machines waiting.
type reporter struct {
	ctl    Control
	log    *slog.Logger
	newest chan []status.VM
}

func newReporter(ctl Control, log *slog.Logger) *reporter {
	return &reporter{ctl: ctl, log: log, newest: make(chan []status.VM, 1)}
}

// put replaces what was not sent yet.
func (r *reporter) put(part []status.VM) {
	for {
		select {
		case r.newest <- part:
			return
		default:
		}
		select {
		case <-r.newest:
		default:
		}
	}
}

func (r *reporter) run(ctx context.Context) error {
	good := true
	for {
		select {
		case <-ctx.Done():
			return nil
		case part := <-r.newest:
			bound, cancel := context.WithTimeout(ctx, reportBound)
			err := r.ctl.Report(bound, "vm", part)
			cancel()
			if (err == nil) != good && ctx.Err() == nil {
				r.log.Info("reports to the node service", "arrive", err == nil, "cause", err)
				good = err == nil
			}
		}
	}
}

// parts is this service's part of the status: what is alive here, or is meant to
// be.
func (s *service) parts() []status.VM {
	list := []status.VM{}
	for _, name := range slices.Sorted(maps.Keys(s.machines)) {
		m := s.machines[name]
		p := status.VM{ID: m.record.VM, Name: name, State: string(vm.Failed), Cause: m.fault, Accel: m.record.Accel, Generation: m.record.Generation}
		if m.vm != nil {
			st, _ := m.vm.Status()
			p.State, p.Since, p.PID = string(st.State), st.Since, st.PID
			if m.fault == "" {
				p.Cause = st.Cause
			} else {
				p.State = string(vm.Failed)
			}
			if alive(st.State) {
				p.QMP, p.Serial = m.vm.Sockets()
			}
		}
		if s.state != nil {
			v, known := wanted(s.state, name)
			if p.PID == 0 {
				if !known || v.Node != s.cfg.Self {
					continue
				}
				p.ID = v.ID
			}
			if s.cfg.Taps == nil && len(v.Cards) > 0 {
				p.Network = status.NetworkProcess
			}
		}
		list = append(list, p)
	}
	return list
}
