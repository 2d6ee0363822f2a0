package nbd

import (
	"io"

	"beffroi.dev/pkg/disk"
)

// bigPayload is where a payload that is not wholly in the buffer is read straight
// into its request, bytes. A smaller one is waited for: the copy is cheaper than
// a system call of its own.
const bigPayload = readBuffer / 4

// read takes requests until the connection ends. A nil error means that the
// client said so.
func (c *conn) read() error {
	for {
		done, err := c.parse()
		if done || err != nil {
			return err
		}
		if err := c.fill(); err != nil {
			return err
		}
	}
}

// parse takes every whole request of the buffer and submits them together.
func (c *conn) parse() (done bool, err error) {
	defer c.submit()
	for c.w-c.r >= requestSize {
		q, err := parseRequest(c.buf[c.r:])
		if err != nil {
			return false, err
		}
		payload := 0
		switch q.kind {
		case cmdDisc:
			return true, nil
		case cmdWrite:
			if q.length > maxPayload {
				return false, errOversize
			}
			payload = int(q.length)
		}
		if payload < bigPayload && c.w-c.r < requestSize+payload {
			return false, nil // the rest is on its way
		}
		c.r += requestSize
		if err := c.accept(q, payload); err != nil {
			return false, err
		}
	}
	return false, nil
}

// accept makes an op of a request and takes its payload.
func (c *conn) accept(q request, payload int) error {
	var o *op
	kind, flags, errno := c.examine(q)
	if kind == disk.Write || kind == disk.Read {
		c.reserve(int64(q.length))
		o = c.srv.pools.get(int64(q.length))
	} else {
		c.reserve(0)
		o = c.srv.pools.get(0)
	}
	o.conn, o.Sink, o.cookie, o.flags, o.errno = c, c, q.cookie, q.flags, errno
	o.Op, o.Flags, o.Off, o.Len = kind, flags, int64(q.offset), int64(q.length)
	if payload > 0 {
		if err := c.payload(o, payload); err != nil {
			c.giveUp(o)
			return err
		}
	}
	if errno != 0 {
		c.refuseRequest(o)
		return nil
	}
	c.batch, c.ops = append(c.batch, &o.Request), append(c.ops, o)
	return nil
}

// payload moves the data of a write into its op, or drains that of a refused one.
func (c *conn) payload(o *op, n int) error {
	if o.errno != 0 {
		c.submit() // draining may take a while
		return c.discard(n)
	}
	k := copy(o.Data, c.buf[c.r:c.w])
	c.r += k
	if k == n {
		return nil
	}
	c.submit()
	_, err := io.ReadFull(c.nc, o.Data[k:])
	return err
}

// kinds maps commands to operations; zero means unknown.
var kinds = [...]disk.Op{
	cmdRead: disk.Read, cmdWrite: disk.Write, cmdFlush: disk.Flush, cmdTrim: disk.Trim,
	cmdCache: disk.Cache, cmdWriteZeroes: disk.Zero, cmdBlockStatus: disk.Status,
}

// allowedFlags of each command, besides FUA, which the protocol allows anywhere.
var allowedFlags = [...]uint16{
	cmdRead: cmdFlagDF, cmdWriteZeroes: cmdFlagNoHole | cmdFlagFastZero, cmdBlockStatus: cmdFlagReqOne,
}

// examine decides whether a request may go to the queue. A refused read or write
// is given an Op of zero, so that no buffer is taken for it.
func (c *conn) examine(q request) (op disk.Op, flags disk.Flags, errno uint32) {
	if int(q.kind) < len(kinds) {
		op = kinds[q.kind]
	}
	if op == 0 {
		return 0, 0, eINVAL
	}
	allowed := uint16(cmdFlagFUA)
	if int(q.kind) < len(allowedFlags) {
		allowed |= allowedFlags[q.kind]
	}
	modifies := op == disk.Write || op == disk.Trim || op == disk.Zero
	switch {
	case q.flags&^allowed != 0,
		q.flags&cmdFlagDF != 0 && !c.structured,
		op == disk.Status && !c.meta,
		op != disk.Flush && q.length == 0,
		op == disk.Flush && (q.length != 0 || q.offset != 0),
		op == disk.Read && q.length > maxPayload:
		return 0, 0, eINVAL
	case modifies && c.readOnly:
		return 0, 0, ePERM
	case q.offset > uint64(c.size) || uint64(q.length) > uint64(c.size)-q.offset:
		return 0, 0, errnoOf(op, disk.ErrOutOfRange)
	}
	if q.flags&cmdFlagFUA != 0 && modifies {
		flags |= disk.FUA
	}
	if q.flags&cmdFlagNoHole != 0 {
		flags |= disk.NoHole
	}
	if q.flags&cmdFlagFastZero != 0 {
		flags |= disk.FastZero
	}
	return op, flags, 0
}

// reserve waits for room in flight. What is gathered is submitted before it
// waits, or nothing would ever finish.
func (c *conn) reserve(bytes int64) {
	c.mu.Lock()
	if c.fullLocked(bytes) {
		c.mu.Unlock()
		c.submit()
		c.mu.Lock()
	}
	for c.fullLocked(bytes) && !c.ended {
		c.room.Wait()
	}
	c.inFlight++
	c.bytes += bytes
	c.mu.Unlock()
}

func (c *conn) fullLocked(bytes int64) bool {
	cfg := &c.srv.cfg
	return c.inFlight >= cfg.MaxInFlight || c.inFlight > 0 && c.bytes+bytes > cfg.MaxInFlightBytes
}

// submit hands what was gathered to the queue, unless the connection has ended.
func (c *conn) submit() {
	if len(c.batch) == 0 {
		return
	}
	c.mu.Lock()
	ended := c.ended
	if !ended {
		c.queued += len(c.batch)
	}
	c.mu.Unlock()
	if ended {
		for _, o := range c.ops {
			c.giveUp(o)
		}
	} else {
		c.queue.Submit(c.batch)
	}
	clear(c.batch)
	clear(c.ops)
	c.batch, c.ops = c.batch[:0], c.ops[:0]
}

// refuseRequest answers without the queue.
func (c *conn) refuseRequest(o *op) {
	c.mu.Lock()
	c.enqueueLocked(o)
	c.mu.Unlock()
	c.Settle()
}

// giveUp returns an op that will not be submitted.
func (c *conn) giveUp(o *op) {
	c.mu.Lock()
	c.inFlight--
	c.bytes -= int64(len(o.Data))
	c.mu.Unlock()
	c.srv.pools.put(o)
}
