package nbd

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"beffroi.dev/pkg/disk"
)

var (
	errBigOption   = errors.New(reasonOption)
	errManyOptions = errors.New(reasonOptions)
	errFlags       = errors.New(reasonFlags)
	errSlow        = errors.New(reasonHandshake)
	// errAbort ends a negotiation as the client wished.
	errAbort = errors.New("negotiation ended by the client")
)

// need waits until n bytes are unread in buf.
func (c *conn) need(n int) error {
	for c.w-c.r < n {
		if len(c.buf)-c.r < n {
			c.w = copy(c.buf, c.buf[c.r:c.w])
			c.r = 0
		}
		if err := c.fill(); err != nil {
			return err
		}
	}
	return nil
}

// take consumes n bytes; they are valid until the next read.
func (c *conn) take(n int) ([]byte, error) {
	if err := c.need(n); err != nil {
		return nil, err
	}
	b := c.buf[c.r : c.r+n]
	c.r += n
	return b, nil
}

// discard consumes n bytes without keeping them.
func (c *conn) discard(n int) error {
	for n > 0 {
		k := min(n, c.w-c.r)
		c.r, n = c.r+k, n-k
		if n > 0 {
			if err := c.fill(); err != nil {
				return err
			}
		}
	}
	return nil
}

// negotiate runs the handshake; ready means that transmission follows.
func (c *conn) negotiate(ctx context.Context) (ready bool, err error) {
	ready, err = c.haggle(ctx)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded) && !c.isOver():
		return false, errSlow
	case errors.Is(err, errAbort) || errors.Is(err, io.EOF):
		return false, nil
	}
	return ready, err
}

func (c *conn) haggle(ctx context.Context) (bool, error) {
	b := binary.BigEndian.AppendUint64(nil, magicInit)
	b = binary.BigEndian.AppendUint64(b, magicOption)
	b = binary.BigEndian.AppendUint16(b, flagFixedNewstyle|flagNoZeroes)
	if _, err := c.nc.Write(b); err != nil {
		return false, err
	}
	flags, err := c.take(4)
	if err != nil {
		return false, err
	}
	f := binary.BigEndian.Uint32(flags)
	if f&^(flagFixedNewstyle|flagNoZeroes) != 0 {
		return false, errFlags
	}
	c.noZeroes = f&flagNoZeroes != 0
	for range maxOptions {
		head, err := c.take(optHeaderSize)
		if err != nil {
			return false, err
		}
		o, err := parseOption(head)
		if err != nil {
			return false, err
		}
		if o.length > maxOption {
			if err := c.refuseBig(o); err != nil {
				return false, err
			}
			continue
		}
		data, err := c.take(int(o.length))
		if err != nil {
			return false, err
		}
		if ready, err := c.option(ctx, o.kind, data); ready || err != nil {
			return ready, err
		}
	}
	return false, errManyOptions
}

func (c *conn) refuseBig(o option) error {
	if o.length > drainOption || o.kind == optExportName {
		return errBigOption
	}
	if err := c.discard(int(o.length)); err != nil {
		return err
	}
	return c.reply(o.kind, repErrTooBig, []byte("option too long"))
}

func (c *conn) reply(kind, rep uint32, data []byte) error {
	_, err := c.nc.Write(appendOptReply(nil, kind, rep, data))
	return err
}

func (c *conn) refuse(kind, rep uint32, why error) error {
	text := why.Error()
	return c.reply(kind, rep, []byte(text[:min(len(text), 256)]))
}

// option answers one option; ready means that it began the transmission.
func (c *conn) option(ctx context.Context, kind uint32, data []byte) (ready bool, err error) {
	switch kind {
	case optExportName:
		return c.exportName(ctx, string(data))
	case optAbort:
		_ = c.reply(kind, repAck, nil) // the client may be gone already
		return false, errAbort
	case optList:
		return false, c.list(data)
	case optInfo, optGo:
		return c.info(ctx, kind, data)
	case optStructuredReply:
		if len(data) != 0 {
			return false, c.refuse(kind, repErrInvalid, fmt.Errorf("%w: no data is allowed", errOption))
		}
		c.structured = true
		return false, c.reply(kind, repAck, nil)
	case optListMeta, optSetMeta:
		return false, c.metaContext(kind, data)
	case optStartTLS:
		return false, c.reply(kind, repErrPolicy, []byte("no TLS here: this socket is local"))
	}
	return false, c.reply(kind, repErrUnsup, []byte("option not supported"))
}

func (c *conn) list(data []byte) error {
	if len(data) != 0 {
		return c.refuse(optList, repErrInvalid, fmt.Errorf("%w: no data is allowed", errOption))
	}
	for _, name := range c.exports.List() {
		b := binary.BigEndian.AppendUint32(nil, uint32(len(name)))
		b = append(b, name...)
		if err := c.reply(optList, repServer, b); err != nil {
			return err
		}
	}
	return c.reply(optList, repAck, nil)
}

// metaContext answers LIST and SET. A context set for one export is used with
// any other that GO may name: ours are the same everywhere.
func (c *conn) metaContext(kind uint32, data []byte) error {
	r, err := parseMeta(data)
	if err == nil && kind == optSetMeta && !c.structured {
		err = fmt.Errorf("%w: structured replies come first", errOption)
	}
	if kind == optSetMeta {
		c.meta = false // a new choice replaces the old one, also when it is refused
	}
	if err != nil {
		return c.refuse(kind, repErrInvalid, err)
	}
	if _, err := c.exports.Open(r.name); errors.Is(err, disk.ErrClosed) {
		return errAbort
	} else if err != nil {
		return c.refuse(kind, repErrUnknown, err)
	}
	if r.matchesAllocation(kind == optListMeta) {
		id := uint32(0) // LIST leaves it blank
		if kind == optSetMeta {
			c.meta, id = true, metaAllocationID
		}
		b := append(binary.BigEndian.AppendUint32(nil, id), metaAllocation...)
		if err := c.reply(kind, repMeta, b); err != nil {
			return err
		}
	}
	return c.reply(kind, repAck, nil)
}

func (c *conn) exportName(ctx context.Context, name string) (bool, error) {
	if len(name) > maxName {
		return false, errBigOption
	}
	e, err := c.pick(ctx, name)
	if err != nil {
		return false, fmt.Errorf("export %.64q: %w", name, err) // this option knows no error reply
	}
	b := binary.BigEndian.AppendUint64(nil, uint64(c.size))
	b = binary.BigEndian.AppendUint16(b, c.txFlags(e))
	if !c.noZeroes {
		b = append(b, make([]byte, 124)...)
	}
	_, err = c.nc.Write(b)
	return err == nil, err
}

// pick opens an export for transmission. It becomes a connection of the export
// first, so that a Drain that comes between sees it.
func (c *conn) pick(ctx context.Context, name string) (Export, error) {
	c.srv.attach(c, name)
	e, err := c.exports.Open(name)
	if err != nil {
		return e, err
	}
	if err := c.srv.settle(ctx, c); err != nil {
		return e, err
	}
	c.queue, c.size, c.readOnly = e.Queue, e.Queue.Size(), e.ReadOnly
	return e, nil
}

func (c *conn) txFlags(e Export) uint16 {
	f := uint16(txHasFlags | txSendFlush | txSendFUA | txSendTrim | txSendZeroes | txCanMultiConn | txSendCache | txSendFastZero)
	if e.ReadOnly {
		f = txHasFlags | txReadOnly | txSendFlush | txSendFUA | txCanMultiConn | txSendCache
	}
	if c.structured {
		f |= txSendDF
	}
	return f
}

func (c *conn) info(ctx context.Context, kind uint32, data []byte) (bool, error) {
	r, err := parseInfo(data)
	if err != nil {
		return false, c.refuse(kind, repErrInvalid, err)
	}
	var e Export
	if kind == optGo {
		e, err = c.pick(ctx, r.name)
	} else {
		e, err = c.exports.Open(r.name)
	}
	switch {
	case errors.Is(err, disk.ErrClosed):
		return false, errAbort // the client comes again
	case errors.Is(err, errUnsettled) || ctx.Err() != nil:
		return false, err
	case err != nil:
		return false, c.refuse(kind, repErrUnknown, err)
	}
	if err := c.tell(kind, r, e); err != nil {
		return false, err
	}
	err = c.reply(kind, repAck, nil)
	return kind == optGo && err == nil, err
}

// tell sends what INFO and GO say about an export.
func (c *conn) tell(kind uint32, r infoRequest, e Export) error {
	b := binary.BigEndian.AppendUint16(nil, infoExport)
	b = binary.BigEndian.AppendUint64(b, uint64(e.Queue.Size()))
	b = binary.BigEndian.AppendUint16(b, c.txFlags(e))
	out := appendOptReply(nil, kind, repInfo, b)

	preferred := e.PreferredBlock
	if preferred == 0 {
		preferred = defaultPreferred
	}
	b = binary.BigEndian.AppendUint16(nil, infoBlockSize)
	b = binary.BigEndian.AppendUint32(b, 1) // queues take unaligned requests
	b = binary.BigEndian.AppendUint32(b, preferred)
	b = binary.BigEndian.AppendUint32(b, maxPayload)
	out = appendOptReply(out, kind, repInfo, b)

	for _, want := range r.infos {
		text := ""
		switch want {
		case infoName:
			text = e.Name
		case infoDescription:
			text = e.Description
		}
		if text != "" && len(text) <= maxName {
			b = append(binary.BigEndian.AppendUint16(nil, want), text...)
			out = appendOptReply(out, kind, repInfo, b)
		}
	}
	_, err := c.nc.Write(out)
	return err
}
