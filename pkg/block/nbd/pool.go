package nbd

import (
	"sync"

	"beffroi.dev/pkg/disk"
)

// op is one request on its way through the server: from the reader to the queue,
// to the list of finished ones, to the writer, and back to its pool.
type op struct {
	disk.Request
	conn   *conn
	mem    []byte // the pooled buffer that Data is a part of
	class  int8   // where it goes back to; -1: nowhere
	cookie uint64
	flags  uint16 // of the command
	errno  uint32 // refused by us, or the mapped Err
}

// memClasses are the sizes of pooled buffers. Larger ones are rare enough to be
// left to the garbage collector.
var memClasses = [...]int64{0, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20}

// pools holds spare ops by class, for all connections of a server.
type pools [len(memClasses)]sync.Pool

// get returns an op whose Data has n bytes, of any content.
func (p *pools) get(n int64) *op {
	class := int8(-1)
	for i, size := range memClasses {
		if n <= size {
			class = int8(i)
			break
		}
	}
	if class >= 0 {
		if o, ok := p[class].Get().(*op); ok {
			o.Data = o.mem[:n]
			return o
		}
	}
	o := &op{class: class}
	if class > 0 {
		o.mem = disk.Aligned(memClasses[class])
	} else if class < 0 {
		o.mem = disk.Aligned(n)
	}
	o.Data = o.mem[:n]
	o.Done = func(*disk.Request) { o.conn.finish(o) } // made once in the life of an op
	return o
}

func (p *pools) put(o *op) {
	if o.class < 0 {
		return
	}
	o.conn, o.Sink, o.Err, o.Extents, o.errno = nil, nil, nil, nil, 0
	p[o.class].Put(o)
}
