package volume

import (
	"beffroi.dev/pkg/disk"
	"beffroi.dev/pkg/ident"
)

// Volume is one mirrored volume, served from whichever node leads its group. It
// is a disk.Queue.
type Volume struct {
	engine *Engine
	group  ident.Group
	id     ident.Volume
	token  uint64
	size   int64
}

// Volume returns the face of a volume for a user that holds token (see
// mirror.GroupSpec). size is what was voted.
func (e *Engine) Volume(group ident.Group, id ident.Volume, size int64, token uint64) *Volume {
	return &Volume{engine: e, group: group, id: id, token: token, size: size}
}

// Submit hands requests to the engine. It never blocks: the front ends bound
// what they have in flight.
func (v *Volume) Submit(batch []*disk.Request) {
	ev := event{kind: evSubmit, group: v.group, volume: v.id, token: v.token}
	if len(batch) == 1 {
		ev.req = batch[0]
	} else {
		ev.reqs = append([]*disk.Request(nil), batch...)
	}
	if !v.engine.post(ev) {
		for _, r := range batch {
			r.Err = disk.ErrClosed
			r.Done(r)
		}
	}
}

// Size is the volume's length in bytes.
func (v *Volume) Size() int64 { return v.size }
