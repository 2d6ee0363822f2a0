package volume

import (
	"context"

	"beffroi.dev/pkg/block/mirror"
	"beffroi.dev/pkg/block/seglog"
	"beffroi.dev/pkg/disk"
)

func (e *Engine) startRead(r *mirror.Read) {
	e.out.Add(1)
	select {
	case e.reads <- r:
	default:
		// More reads than the queue holds: one goroutine more serves this one.
		e.tasks.Go("block reader", func(context.Context) error { e.read(r); return nil })
	}
}

// writer writes frames. When nobody else has the turn it takes it with the news
// that its frame is durable, and so has the next frame without waking anyone.
func (e *Engine) writer(ctx context.Context) error {
	durable, _ := e.dev.(interface {
		WriteDurable(p []byte, off int64) error
	})
	for {
		var w *seglog.Write
		select {
		case <-ctx.Done():
			return nil
		case w = <-e.writes:
		}
		for w != nil {
			var err error
			if durable != nil {
				err = durable.WriteDurable(w.Buf, w.Off)
			} else if _, err = e.dev.WriteAt(w.Buf, w.Off); err == nil {
				err = e.dev.Sync()
			}
			w = e.written(event{kind: evFrame, frame: w, err: err})
		}
	}
}

func (e *Engine) reader(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case r := <-e.reads:
			e.read(r)
		}
	}
}

func (e *Engine) read(r *mirror.Read) {
	_, r.Err = e.dev.ReadAt(r.Buf, int64(r.Loc)*disk.BlockSize)
	r.Check()
	e.post(event{kind: evRead, read: r})
	e.out.Done()
}
