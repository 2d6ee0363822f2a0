package guests

import (
	"context"
	"io"
	"net"

	"beffroi.dev/pkg/task"
)

// Join copies both ways between a and b until one side ends or ctx does. What was
// read of b already comes first from ahead, which may be nil.
func Join(ctx context.Context, a, b net.Conn, ahead io.Reader) {
	from := io.Reader(b)
	if ahead != nil {
		from = ahead
	}
	tasks := task.New(ctx)
	end := context.AfterFunc(tasks.Context(), func() { _, _ = a.Close(), b.Close() })
	defer end()
	tasks.Go("one way", func(context.Context) error { _, _ = io.Copy(a, from); return io.EOF })
	tasks.Go("other way", func(context.Context) error { _, _ = io.Copy(b, a); return io.EOF })
	_ = tasks.Wait(ctx, stopBound)
}
