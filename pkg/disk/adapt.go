package disk

import (
	"context"
	"fmt"
	"io"
	"sync"

	"beffroi.dev/pkg/task"
)

// NewDevice makes a Device of a Queue. Closing it does not close the queue.
func NewDevice(q Queue) Device { return &queueDevice{q: q} }

type queueDevice struct{ q Queue }

func (d *queueDevice) do(r Request) (int, error) {
	var wg sync.WaitGroup
	wg.Add(1)
	r.Done = func(*Request) { wg.Done() }
	r.Len = int64(len(r.Data))
	d.q.Submit([]*Request{&r})
	wg.Wait()
	if r.Err != nil {
		return 0, r.Err
	}
	return len(r.Data), nil
}

func (d *queueDevice) ReadAt(p []byte, off int64) (int, error) {
	short := false
	if size := d.q.Size(); off >= 0 && off <= size && int64(len(p)) > size-off {
		p, short = p[:size-off], true
	}
	n, err := d.do(Request{Op: Read, Off: off, Data: p})
	if err == nil && short {
		err = io.EOF
	}
	return n, err
}

func (d *queueDevice) WriteAt(p []byte, off int64) (int, error) {
	return d.do(Request{Op: Write, Off: off, Data: p})
}

func (d *queueDevice) Sync() error {
	_, err := d.do(Request{Op: Flush})
	return err
}

func (d *queueDevice) Size() int64  { return d.q.Size() }
func (d *queueDevice) Close() error { return nil }

// DeviceQueue serves a Device as a Queue, with a fixed number of workers.
type DeviceQueue struct {
	dev   Device
	work  chan *Request
	tasks *task.Group
}

// NewQueue starts workers goroutines that serve dev. The caller stops them with
// Close, which does not close dev.
func NewQueue(ctx context.Context, dev Device, workers int) *DeviceQueue {
	q := &DeviceQueue{dev: dev, work: make(chan *Request), tasks: task.New(ctx)}
	for range workers {
		q.tasks.Go("disk worker", q.serve)
	}
	return q
}

func (q *DeviceQueue) serve(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case r := <-q.work:
			r.Err = q.perform(r)
			Finish(r)
		}
	}
}

func (q *DeviceQueue) perform(r *Request) error {
	if r.Op != Flush {
		if err := CheckRange(r.Off, r.Len, q.dev.Size()); err != nil {
			return err
		}
	}
	var err error
	switch r.Op {
	case Read:
		_, err = q.dev.ReadAt(r.Data, r.Off)
	case Write:
		_, err = q.dev.WriteAt(r.Data, r.Off)
	case Zero:
		if r.Flags&FastZero != 0 {
			return ErrNotSupported
		}
		err = writeZeros(q.dev, r.Off, r.Len)
	case Flush:
		return q.dev.Sync()
	case Trim, Cache:
	case Status:
		r.Extents = []Extent{{Len: r.Len}}
	default:
		return fmt.Errorf("%w: %v", ErrNotSupported, r.Op)
	}
	if err == nil && r.Flags&FUA != 0 {
		err = q.dev.Sync()
	}
	return err
}

func writeZeros(dev Device, off, n int64) error {
	zeros := make([]byte, min(n, 1<<20))
	for n > 0 {
		k := min(n, int64(len(zeros)))
		if _, err := dev.WriteAt(zeros[:k], off); err != nil {
			return err
		}
		off, n = off+k, n-k
	}
	return nil
}

// Submit hands the batch to the workers; it blocks while all of them are busy.
func (q *DeviceQueue) Submit(batch []*Request) {
	for _, r := range batch {
		select {
		case q.work <- r:
		case <-q.tasks.Context().Done():
			r.Err = ErrClosed
			Finish(r)
		}
	}
}

// Size is the device's length in bytes.
func (q *DeviceQueue) Size() int64 { return q.dev.Size() }

// Close stops the workers after the requests they are serving.
func (q *DeviceQueue) Close() error {
	return q.tasks.Stop(stopBound)
}
