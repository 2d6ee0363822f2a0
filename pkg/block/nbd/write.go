package nbd

import (
	"encoding/binary"

	"beffroi.dev/pkg/disk"
)

const (
	// smallReply is where read data is copied next to its header instead of
	// becoming an element of the vector, bytes.
	smallReply = 16 << 10
	// outBuffer is what is gathered before it is sent, bytes.
	outBuffer = 256 << 10
)

// write sends replies until the connection is over, then closes the socket.
func (c *conn) write() {
	c.out = make([]byte, 0, outBuffer+smallReply+64)
	for {
		batch := c.nextBatch()
		if len(batch) == 0 {
			return
		}
		if err := c.send(batch); err != nil {
			c.kill() // the peer does not listen any more
		}
		c.release(batch)
	}
}

// nextBatch waits for finished requests; none means that the writer's work is
// over.
func (c *conn) nextBatch() []*op {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.finished) == 0 {
		if c.dead || c.readDone && c.inFlight == 0 {
			return nil
		}
		c.work.Wait()
	}
	batch := c.finished
	c.finished = c.spare[:0]
	return batch
}

// release returns the ops of a sent batch and makes room for new ones.
func (c *conn) release(batch []*op) {
	bytes := int64(0)
	for i, o := range batch {
		bytes += int64(len(o.Data))
		c.srv.pools.put(o)
		batch[i] = nil
	}
	c.mu.Lock()
	c.inFlight -= len(batch)
	c.bytes -= bytes
	c.spare = batch[:0]
	c.room.Signal()
	c.mu.Unlock()
}

// send writes the replies of a batch with as few system calls as it can.
func (c *conn) send(batch []*op) error {
	c.out, c.vec = c.out[:0], c.vec[:0]
	start := 0 // of the part of out that is not in vec yet
	for _, o := range batch {
		data := c.appendReply(o)
		switch {
		case len(data) == 0:
		case len(data) <= smallReply:
			c.out = append(c.out, data...)
		default:
			c.vec = append(c.vec, c.out[start:len(c.out):len(c.out)], data)
			start = len(c.out)
		}
		if len(c.out) >= outBuffer {
			if err := c.flush(start); err != nil {
				return err
			}
			start = 0
		}
	}
	return c.flush(start)
}

func (c *conn) flush(start int) error {
	if len(c.vec) == 0 {
		_, err := c.nc.Write(c.out)
		c.out = c.out[:0]
		return err
	}
	if len(c.out) > start {
		c.vec = append(c.vec, c.out[start:])
	}
	v := c.vec // WriteTo consumes its receiver
	_, err := v.WriteTo(c.nc)
	clear(c.vec)
	c.out, c.vec = c.out[:0], c.vec[:0]
	return err
}

// appendReply appends the reply of o to out, but for its data, which is returned.
func (c *conn) appendReply(o *op) []byte {
	switch {
	case o.errno != 0 && c.structured && (o.Op == disk.Read || o.Op == disk.Status || o.Op == 0):
		text := "request refused"
		if o.Err != nil {
			text = o.Err.Error()
		}
		c.out = appendErrorChunk(c.out, o.cookie, o.errno, text)
	case o.errno != 0:
		c.out = appendSimple(c.out, o.errno, o.cookie)
	case o.Op == disk.Read && c.structured:
		c.out = appendChunk(c.out, chunkDone, chunkOffsetData, o.cookie, uint32(8+len(o.Data)))
		c.out = binary.BigEndian.AppendUint64(c.out, uint64(o.Off))
		return o.Data
	case o.Op == disk.Read:
		c.out = appendSimple(c.out, 0, o.cookie)
		return o.Data
	case o.Op == disk.Status:
		c.out = appendStatus(c.out, o.cookie, o.Extents, o.Len, o.flags&cmdFlagReqOne != 0)
	default:
		c.out = appendSimple(c.out, 0, o.cookie)
	}
	return nil
}
