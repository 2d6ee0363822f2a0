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

// Submit hands requests to the engine. It never blocks for long: the front ends
// bound what they have in flight. A flush is done at once: every write that was
// acknowledged is durable on the whole in-sync set already.
func (v *Volume) Submit(batch []*disk.Request) {
	rest := make([]*disk.Request, 0, len(batch))
	done := batch[:0:0]
	for _, r := range batch {
		if r.Op == disk.Flush || r.Op == disk.Cache {
			done = append(done, r)
		} else {
			rest = append(rest, r)
		}
	}
	disk.Finish(done...)
	if len(rest) == 0 {
		return
	}
	ev := event{kind: evSubmit, group: v.group, volume: v.id, token: v.token, reqs: rest}
	if !v.engine.post(ev) {
		for _, r := range rest {
			r.Err = disk.ErrClosed
		}
		disk.Finish(rest...)
	}
}

// Size is the volume's length in bytes.
func (v *Volume) Size() int64 { return v.size }
