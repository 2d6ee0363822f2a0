package console

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"beffroi.dev/appliance/status"
	"beffroi.dev/pkg/ident"
)

// control is a button that leads to a confirmation.
type control struct {
	Href, Label, About string
	Danger             bool
}

// groupRow is one volume group.
type groupRow struct {
	Name    string
	Citizen bool
	Volumes string
	Mark    mark
	Detail  string
	Running bool // a resync
	Percent int
	Primary string
	Epoch   ident.Epoch
	Copies  string
	Writes  string
	Acts    []control
	Note    string // why there is no control
}

func (w *world) group(g status.Group) groupRow {
	row := groupRow{Name: g.Name, Citizen: g.Citizen, Primary: w.name(g.Primary), Epoch: g.Epoch}
	var volumes []string
	for _, v := range g.Volumes {
		volumes = append(volumes, v.Name+" "+w.r.size(v.Size))
	}
	row.Volumes = strings.Join(volumes, ", ")
	names := make([]string, 0, len(g.InSync))
	for _, id := range g.InSync {
		names = append(names, w.name(id))
	}
	row.Copies = strings.Join(names, w.r.T("and"))
	w.groupState(&row, g, w.local(g.ID))
	if !w.r.Operates() {
		return row
	}
	switch {
	case g.Primary != w.ID:
		row.Note = w.r.T("switch.elsewhere", row.Primary)
	case !slices.Contains(g.InSync, w.twin.ID) || !w.twin.Up:
		row.Note = w.r.T("switch.later")
	default:
		row.Acts = []control{{Href: "/act/switch/" + g.Name, Label: w.r.T("do.switch", w.twin.Name), About: g.Name}}
	}
	return row
}

// local is what this node's store knows of a group, if it said so lately.
func (w *world) local(id ident.Group) *status.LocalGroup {
	if w.storeOld() {
		return nil
	}
	for i, g := range w.Node.Store.Groups {
		if g.ID == id {
			return &w.Node.Store.Groups[i]
		}
	}
	return nil
}

func (w *world) groupState(row *groupRow, g status.Group, l *status.LocalGroup) {
	here := g.Primary == w.ID
	switch {
	case w.stale:
		row.Mark, row.Detail = mark{"old", "old", w.r.T("group.old")}, w.r.T("group.old.detail")
	case here && l == nil:
		row.Mark, row.Detail = mark{"old", "old", w.r.T("group.unknown")}, w.r.T("group.unknown.detail")
	case here && (!l.Serving || !l.Readable):
		row.Mark, row.Detail = bad(w.r.T("group.held")), w.r.T("group.held.detail")
	case !here && !w.up(g.Primary):
		row.Mark, row.Detail = bad(w.r.T("group.lost", row.Primary)), w.r.T("group.lost.detail")
	case here && l.Resync != nil && l.Resync.Running:
		w.resync(row, l.Resync)
	case len(g.InSync) < 2:
		row.Mark, row.Detail = warn(w.r.T("group.solo", row.Copies)), w.r.T("group.solo.detail")
		if !here {
			row.Detail = w.r.T("group.solo.elsewhere", row.Primary)
		} else if w.Node.Store.Linked {
			row.Detail = w.r.T("group.solo.linked")
		}
	default:
		row.Mark, row.Detail = good(w.r.T("group.insync")), w.r.T("group.insync.detail")
	}
}

func (w *world) resync(row *groupRow, s *status.Resync) {
	row.Running, row.Percent = true, s.Percent()
	row.Mark = mark{"warn", "sync", w.r.T("group.resync", row.Percent)}
	row.Detail = w.r.T("resync.left", w.r.size(s.DirtyBytes))
	if s.LeftMS >= 0 {
		end := w.snap.at.Add(time.Duration(s.LeftMS) * time.Millisecond)
		row.Detail += w.r.T("resync.end", end.Local().Format("15:04:05"))
	}
}

// vmRow is one virtual machine.
type vmRow struct {
	Name   string
	Mark   mark
	Detail string
	Where  string
	Since  time.Time
	Size   string
	Cards  []string // addresses of its network cards
	Acts   []control
}

func (w *world) vm(v status.PlacedVM) vmRow {
	row := vmRow{Name: v.Name, Size: w.r.count("cpus", v.CPUs) + ", " + w.r.size(int64(v.MemoryMB)<<20), Where: w.names[v.Node].Name, Cards: v.Cards}
	w.vmState(&row, v)
	if !w.r.Operates() {
		return row
	}
	act := func(what string, danger bool) {
		row.Acts = append(row.Acts, control{Href: "/act/" + what + "/" + v.Name, Label: w.r.T("do." + what), About: v.Name, Danger: danger})
	}
	if !v.Run {
		act("start", false)
	} else {
		act("shutdown", false)
	}
	if v.Run || v.Node != 0 {
		act("off", true)
	}
	return row
}

func (w *world) vmState(row *vmRow, v status.PlacedVM) {
	silent := w.stale || slices.ContainsFunc(w.Problem, func(p status.Problem) bool { return p.Code == "vm-silent" })
	i := slices.IndexFunc(w.Node.VMs, func(l status.VM) bool { return l.ID == v.ID })
	switch {
	case v.Node == 0 && v.Run:
		row.Mark, row.Detail = warn(w.r.T("vm.homeless")), w.r.T("vm.homeless.detail")
	case v.Node == 0:
		row.Mark = calm(w.r.T("vm.stopped"))
	case v.Node == w.ID && silent:
		row.Mark, row.Detail = mark{"old", "old", w.r.T("vm.unknown")}, w.r.T("vm.silent.detail")
	case v.Node == w.ID && i >= 0:
		l := w.Node.VMs[i]
		row.Mark, row.Detail, row.Since = w.vmMark(l.State), l.Cause, l.Since
		if l.Accel == "tcg" && l.State == "running" {
			row.Detail = w.r.T("vm.emulated")
		}
		if l.Network != "" && l.PID != 0 {
			row.Detail = strings.TrimPrefix(row.Detail+", "+w.r.T("vm.unplugged"), ", ")
		}
	case v.Node == w.ID && !v.Run:
		row.Mark = calm(w.r.T("vm.stopped"))
	case v.Node == w.ID:
		row.Mark = calm(w.r.T("vm.soon"))
	case !w.up(v.Node):
		row.Mark, row.Detail = bad(w.r.T("vm.gone", row.Where)), w.r.T("vm.gone.detail")
	default:
		row.Mark, row.Detail = calm(w.r.T("vm.there", row.Where)), w.r.T("vm.there.detail", row.Where)
	}
}

func (w *world) vmMark(state string) mark {
	key := "vm." + state
	if !w.r.words.has(key) {
		return calm(state)
	}
	switch t := w.r.T(key); state {
	case "running":
		return good(t)
	case "paused-io", "failed":
		return bad(t)
	case "paused", "shutting-down", "starting":
		return warn(t)
	default:
		return calm(t)
	}
}

// problem is something to know or to do, in the reader's words.
type problem struct {
	Level, Tone, Icon string
	What, Means, Do   string
}

// problems words them, the same thing about several objects once.
func (w *world) problems() []problem {
	type key struct{ code, level string }
	var order []key
	objects := map[key][]string{}
	for _, p := range w.Problem {
		k := key{p.Code, p.Level}
		if !slices.Contains(order, k) {
			order = append(order, k)
		}
		if o := w.object(p); !slices.Contains(objects[k], o) {
			objects[k] = append(objects[k], o)
		}
	}
	var all []problem
	if w.stale || w.snap.at.IsZero() {
		all = append(all, w.problem("node-silent", "error", w.Name))
	}
	for _, k := range order {
		all = append(all, w.problem(k.code, k.level, strings.Join(objects[k], ", ")))
	}
	return all
}

// object of a problem; that of a link comes as "PATH to NODE (KIND)".
func (w *world) object(p status.Problem) string {
	if path, rest, ok := strings.Cut(p.Object, " to "); ok && p.Code == "link-down" {
		node, _, _ := strings.Cut(rest, " ")
		return w.r.T("link.to", w.path(path), node)
	}
	return p.Object
}

func (w *world) problem(code, level, object string) problem {
	p := problem{Level: w.r.T("level." + level), Tone: map[string]string{"error": "bad", "warning": "warn"}[level], Icon: "warn"}
	switch level {
	case "error":
		p.Icon = "bad"
	case "info":
		p.Icon, p.Tone = "sync", "calm"
	}
	if !w.r.words.has("p." + code + ".what") {
		p.What, p.Means, p.Do = strings.TrimSpace(code+" "+object), w.r.T("p.other.means"), w.r.T("p.other.do")
		return p
	}
	object = cmp.Or(object, "?")
	p.What, p.Means, p.Do = w.r.T("p."+code+".what", object), w.r.T("p."+code+".means", object), w.r.T("p."+code+".do", object)
	return p
}

// path is the name of a link in the reader's words.
func (w *world) path(name string) string {
	if key := "path." + name; w.r.words.has(key) {
		return w.r.T(key)
	}
	return name
}
