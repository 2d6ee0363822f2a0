package nbd

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"beffroi.dev/pkg/disk"
)

// stallSlack is how much longer than a hold a server may be silent on a request
// before it is taken for dead: a good server answers within the hold.
const stallSlack = 5 * time.Second

var errProtocol = errors.New("the server does not keep to the protocol")

// write sends what waits until the life is over. With nothing left to come it
// takes leave.
func (l *lane) write(nc net.Conn) error {
	var out []byte
	var vec net.Buffers
	for {
		batch, first := l.nextCalls()
		if batch == nil {
			if first != 0 { // closing
				_, err := nc.Write(appendRequest(out[:0], request{kind: cmdDisc, cookie: first}))
				return err
			}
			return nil
		}
		out, vec = out[:0], vec[:0]
		start := 0
		for i, k := range batch {
			out = appendRequest(out, k.header(first+uint64(i)))
			if k.kind != cmdWrite {
				continue
			}
			if data := k.data(); len(data) <= smallReply {
				out = append(out, data...)
			} else {
				vec = append(vec, out[start:len(out):len(out)], data)
				start = len(out)
			}
		}
		if start < len(out) {
			vec = append(vec, out[start:])
		}
		v := vec // WriteTo consumes its receiver
		if _, err := v.WriteTo(nc); err != nil {
			return err
		}
		clear(vec)
	}
}

// sendBatch bounds what one turn of the writer takes, so that its buffer stays
// small.
const sendBatch = 64

// nextCalls moves waiting calls to sent under cookies counted from first. Nil and
// zero: the life is over; nil and a cookie: the lane is closing and idle.
func (l *lane) nextCalls() (batch []*call, first uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.up && len(l.waiting) == 0 {
		if l.closing && len(l.sent) == 0 {
			l.cookie++
			return nil, l.cookie
		}
		l.work.Wait()
	}
	if !l.up {
		return nil, 0
	}
	n := min(len(l.waiting), sendBatch)
	batch = append(batch, l.waiting[:n]...)
	clear(l.waiting[:n])
	if l.waiting = l.waiting[n:]; len(l.waiting) == 0 {
		l.waiting = nil
	}
	first = l.cookie + 1
	for _, k := range batch {
		l.cookie++
		l.sent[l.cookie] = k
	}
	return batch, first
}

// read takes replies until the connection ends.
func (l *lane) read(nc net.Conn) error {
	stall := l.c.cfg.Hold + stallSlack
	r := bufio.NewReaderSize(nc, readBuffer)
	for {
		_ = nc.SetReadDeadline(time.Now().Add(stall))
		if _, err := r.Peek(simpleSize); err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) && !l.stalled(stall) {
				continue // an idle connection, or a request that is still young
			}
			return err
		}
		for {
			if err := l.reply(r); err != nil {
				return err
			}
			if r.Buffered() < simpleSize {
				break
			}
		}
	}
}

// stalled tells whether the server has been silent on a request for too long.
func (l *lane) stalled(bound time.Duration) bool {
	limit := time.Now().Add(-bound)
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, k := range l.sent {
		if k.since.Before(limit) {
			return true
		}
	}
	return false
}

// lookup finds a sent call.
func (l *lane) lookup(cookie uint64) (*call, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if k := l.sent[cookie]; k != nil {
		return k, nil
	}
	return nil, fmt.Errorf("%w: a reply to nothing", errProtocol)
}

// end finishes a call that has its whole reply.
func (l *lane) end(cookie uint64, k *call) error {
	if k.errno == eSHUTDOWN {
		return errors.New("the server is shutting down") // the call stays, for the next life
	}
	l.mu.Lock()
	delete(l.sent, cookie)
	l.doneLocked()
	if l.closing {
		l.work.Signal()
	}
	l.mu.Unlock()
	l.answered = true
	err := errOf(k.req.Op, k.errno)
	if err != nil && k.text != "" {
		err = fmt.Errorf("%w (%s)", err, k.text)
	}
	k.end(err)
	return nil
}

// reply takes one simple reply or one chunk.
func (l *lane) reply(r *bufio.Reader) error {
	h, err := r.Peek(simpleSize)
	if err != nil {
		return err
	}
	switch binary.BigEndian.Uint32(h) {
	case magicSimple:
		errno, cookie := binary.BigEndian.Uint32(h[4:]), binary.BigEndian.Uint64(h[8:])
		_, _ = r.Discard(simpleSize)
		k, err := l.lookup(cookie)
		if err != nil {
			return err
		}
		k.errno = errno
		if k.kind == cmdRead && errno == 0 {
			if l.link.structured {
				return fmt.Errorf("%w: a simple reply to a read", errProtocol)
			}
			if _, err := io.ReadFull(r, k.data()); err != nil {
				return err
			}
		}
		return l.end(cookie, k)
	case magicStructured:
		return l.chunk(r)
	}
	return fmt.Errorf("reply: %w", errMagic)
}

// chunk is one chunk header of a structured reply.
type chunk struct {
	flags, kind uint16
	cookie      uint64
	length      uint32
}

func parseChunk(b []byte) chunk {
	_ = b[chunkHeaderSize-1]
	return chunk{
		flags: binary.BigEndian.Uint16(b[4:]), kind: binary.BigEndian.Uint16(b[6:]),
		cookie: binary.BigEndian.Uint64(b[8:]), length: binary.BigEndian.Uint32(b[16:]),
	}
}

func (l *lane) chunk(r *bufio.Reader) error {
	h, err := r.Peek(chunkHeaderSize)
	if err != nil {
		return err
	}
	ch := parseChunk(h)
	_, _ = r.Discard(chunkHeaderSize)
	k, err := l.lookup(ch.cookie)
	if err != nil {
		return err
	}
	if err := k.take(r, ch); err != nil {
		return err
	}
	if ch.flags&chunkDone != 0 {
		return l.end(ch.cookie, k)
	}
	return nil
}

// take reads the data of a chunk and puts it where it belongs.
func (k *call) take(r *bufio.Reader, ch chunk) error {
	if k.kind == cmdRead && ch.kind == chunkOffsetData && ch.length > 8 {
		part, err := k.within(r, int64(ch.length)-8)
		if err == nil {
			_, err = io.ReadFull(r, part)
		}
		return err
	}
	if ch.length > 8*maxExtents+4 {
		return fmt.Errorf("%w: a chunk of %d bytes", errProtocol, ch.length)
	}
	if k.kind == cmdRead && ch.kind == chunkOffsetHole && ch.length == 12 {
		b, err := r.Peek(12)
		if err != nil {
			return err
		}
		part, err := k.within(r, int64(binary.BigEndian.Uint32(b[8:])))
		if err == nil {
			clear(part)
			_, err = r.Discard(4)
		}
		return err
	}
	data := make([]byte, ch.length)
	if _, err := io.ReadFull(r, data); err != nil {
		return err
	}
	return k.note(ch, data)
}

// within reads the offset of a content chunk and finds its place in the buffer.
func (k *call) within(r *bufio.Reader, n int64) ([]byte, error) {
	var b [8]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return nil, err
	}
	off := int64(binary.BigEndian.Uint64(b[:]))
	if off < k.off || n > k.n || off-k.off > k.n-n {
		return nil, fmt.Errorf("%w: data outside the read", errProtocol)
	}
	return k.data()[off-k.off:][:n], nil
}

// note takes in a chunk without content: nothing, a status or an error.
func (k *call) note(ch chunk, data []byte) error {
	switch {
	case ch.kind == chunkNone:
		return nil
	case ch.kind&chunkErrFlag != 0 && len(data) >= 6:
		n := min(int(binary.BigEndian.Uint16(data[4:])), len(data)-6)
		k.errno, k.text = max(1, binary.BigEndian.Uint32(data)), string(data[6:6+n])
		return nil
	case k.kind == cmdBlockStatus && ch.kind == chunkStatus && len(data) >= 12 && len(data)%8 == 4:
		left := k.n
		for b := data[4:]; len(b) > 0 && left > 0; b = b[8:] {
			n, state := min(left, int64(binary.BigEndian.Uint32(b))), binary.BigEndian.Uint32(b[4:])
			k.req.Extents = append(k.req.Extents, disk.Extent{Len: n, Hole: state&stateHole != 0, Zero: state&stateZero != 0})
			left -= n
		}
		return nil
	}
	return fmt.Errorf("%w: a chunk of type %d that does not fit its request", errProtocol, ch.kind)
}
