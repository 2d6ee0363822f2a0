package nbd

import (
	"encoding/binary"
	"errors"
	"syscall"

	"golang.org/x/sys/unix"

	"beffroi.dev/pkg/disk"
)

const (
	// smallReply is where read data is copied next to its header instead of
	// becoming an element of the vector, bytes.
	smallReply = 16 << 10
	// outBuffer is what is gathered before it is sent, bytes.
	outBuffer = 256 << 10
	// directPayload is how much read data may be sent on the goroutine that
	// finished it, bytes; more is copied on the writer's time.
	directPayload = 64 << 10
)

func (c *conn) prepareSend() {
	c.out = make([]byte, 0, outBuffer+smallReply+64)
	if s, ok := c.nc.(syscall.Conn); ok {
		c.raw, _ = s.SyscallConn() // without it the writer sends
	}
}

func (c *conn) enqueueLocked(o *op) {
	c.finished = append(c.finished, o)
	if o.Op == disk.Read {
		c.readBytes += int64(len(o.Data))
	}
}

// takeLocked makes the caller the one who sends.
func (c *conn) takeLocked() []*op {
	batch := c.finished
	c.finished, c.readBytes, c.sending = c.spare[:0], 0, true
	return batch
}

// Settle sends the replies of what was finished on the caller's goroutine, unless
// the socket would make it wait or the writer has something to send first: waking
// the writer costs more than sending.
func (c *conn) Settle() {
	c.mu.Lock()
	if c.sending || len(c.finished) == 0 {
		c.mu.Unlock()
		return // who sends looks again before it leaves
	}
	if c.raw == nil || c.readBytes > directPayload || len(c.rest) > 0 { // replies keep their order
		c.work.Signal()
		c.mu.Unlock()
		return
	}
	batch := c.takeLocked()
	c.mu.Unlock()
	if err := c.sendNow(batch); err != nil {
		c.kill()
	}
	c.release(batch)
}

// sendNow writes what the socket takes at once, and leaves the rest in rest.
func (c *conn) sendNow(batch []*op) error {
	c.out = c.out[:0]
	for _, o := range batch {
		data := c.appendReply(o)
		c.out = append(c.out, data...)
	}
	n, werr := 0, error(nil)
	err := c.raw.Write(func(fd uintptr) bool {
		n, werr = unix.Write(int(fd), c.out)
		return true
	})
	if errors.Is(werr, unix.EAGAIN) || errors.Is(werr, unix.EINTR) {
		n, werr = 0, nil
	}
	if err = errors.Join(err, werr); err == nil {
		c.rest = c.out[n:]
	}
	return err
}

// write sends what nobody else sent until the connection is over.
func (c *conn) write() {
	for {
		batch, more := c.nextBatch()
		if !more {
			return
		}
		if err := c.send(batch); err != nil {
			c.kill() // the peer does not listen any more
		}
		c.release(batch)
	}
}

// nextBatch waits for replies to send; false means that the writer's work is over.
func (c *conn) nextBatch() ([]*op, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.sending || len(c.finished) == 0 && len(c.rest) == 0 {
		if c.dead || c.readDone && c.inFlight == 0 && !c.sending {
			return nil, false
		}
		c.work.Wait()
	}
	return c.takeLocked(), true
}

// release returns the ops of a sent batch and makes room for new ones; the caller
// sends no longer.
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
	c.spare, c.sending = batch[:0], false
	c.room.Signal()
	if len(c.finished) > 0 || len(c.rest) > 0 || c.readDone {
		c.work.Signal()
	}
	c.mu.Unlock()
}

// send writes the replies of a batch with as few system calls as it can.
func (c *conn) send(batch []*op) error {
	if len(c.rest) > 0 {
		_, err := c.nc.Write(c.rest)
		c.rest = nil
		if err != nil {
			return err
		}
	}
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
