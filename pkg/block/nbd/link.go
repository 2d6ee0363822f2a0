package nbd

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// ErrRefused is returned by Dial when the server does not know the export, or
// cannot be used as a disk.
var ErrRefused = errors.New("refused by the server")

// link is what a negotiation agreed on.
type link struct {
	size       int64
	flags      uint16
	maxPayload uint32
	structured bool
	meta       bool
}

// connect dials and negotiates within a bound.
func (c *Client) connect(ctx context.Context, bound time.Duration) (net.Conn, link, error) {
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	var d net.Dialer
	nc, err := d.DialContext(ctx, c.cfg.Network, c.cfg.Address)
	if err != nil {
		return nil, link{}, err
	}
	stop := context.AfterFunc(ctx, func() { _ = nc.Close() })
	l, err := haggle(nc, c.cfg.Export)
	if err == nil && c.first.size != 0 && l.size < c.first.size {
		err = fmt.Errorf("%w: the export shrank from %d to %d bytes", ErrRefused, c.first.size, l.size)
	}
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = nc.Close()
		return nil, link{}, err
	}
	return nc, l, nil
}

// haggle is the client's side of the negotiation.
func haggle(nc net.Conn, export string) (link, error) {
	var b [18]byte
	if _, err := io.ReadFull(nc, b[:]); err != nil {
		return link{}, fmt.Errorf("read greeting: %w", err)
	}
	if binary.BigEndian.Uint64(b[:]) != magicInit || binary.BigEndian.Uint64(b[8:]) != magicOption {
		return link{}, fmt.Errorf("greeting: %w", errMagic)
	}
	if binary.BigEndian.Uint16(b[16:])&flagFixedNewstyle == 0 {
		return link{}, fmt.Errorf("%w: it does not speak fixed newstyle", ErrRefused)
	}
	l := link{maxPayload: maxPayload}
	name := append(binary.BigEndian.AppendUint32(nil, uint32(len(export))), export...)
	out := binary.BigEndian.AppendUint32(nil, flagFixedNewstyle|flagNoZeroes)
	out = appendOption(out, optStructuredReply, nil)
	if _, err := nc.Write(out); err != nil {
		return link{}, err
	}
	if err := collect(nc, optStructuredReply, func(uint32, []byte) { l.structured = true }); err != nil && !errors.Is(err, ErrRefused) {
		return link{}, err
	}
	if l.structured {
		query := binary.BigEndian.AppendUint32(append([]byte(nil), name...), 1)
		query = append(binary.BigEndian.AppendUint32(query, uint32(len(metaAllocation))), metaAllocation...)
		if _, err := nc.Write(appendOption(nil, optSetMeta, query)); err != nil {
			return link{}, err
		}
		err := collect(nc, optSetMeta, func(rep uint32, data []byte) {
			l.meta = l.meta || rep == repMeta && len(data) > 4 && string(data[4:]) == metaAllocation
		})
		if err != nil && !errors.Is(err, ErrRefused) {
			return link{}, err
		}
	}
	ask := append(append([]byte(nil), name...), 0, 1, 0, infoBlockSize)
	if _, err := nc.Write(appendOption(nil, optGo, ask)); err != nil {
		return link{}, err
	}
	if err := collect(nc, optGo, l.learn); err != nil {
		return link{}, err
	}
	return l, l.check()
}

// learn takes in one information reply.
func (l *link) learn(rep uint32, data []byte) {
	if rep != repInfo || len(data) < 2 {
		return
	}
	kind, data := binary.BigEndian.Uint16(data), data[2:]
	switch {
	case kind == infoExport && len(data) == 10:
		l.size = int64(binary.BigEndian.Uint64(data))
		l.flags = binary.BigEndian.Uint16(data[8:])
	case kind == infoBlockSize && len(data) == 12:
		if most := binary.BigEndian.Uint32(data[8:]); most >= 512 {
			l.maxPayload = min(maxPayload, most)
		}
	}
}

func (l *link) check() error {
	switch {
	case l.flags&txHasFlags == 0 || l.size <= 0:
		return fmt.Errorf("%w: no usable size and flags", ErrRefused)
	case l.flags&txReadOnly == 0 && l.flags&(txSendFlush|txSendFUA) != txSendFlush|txSendFUA:
		return fmt.Errorf("%w: it cannot make writes durable (flush and FUA)", ErrRefused)
	}
	return nil
}

// collect reads the replies to one option up to its ack or error.
func collect(nc net.Conn, kind uint32, each func(rep uint32, data []byte)) error {
	for range maxOptions {
		var h [repHeaderSize]byte
		if _, err := io.ReadFull(nc, h[:]); err != nil {
			return fmt.Errorf("read option reply: %w", err)
		}
		rep, n := binary.BigEndian.Uint32(h[12:]), binary.BigEndian.Uint32(h[16:])
		if binary.BigEndian.Uint64(h[:]) != magicOptReply || binary.BigEndian.Uint32(h[8:]) != kind || n > maxOption {
			return fmt.Errorf("option reply: %w", errMagic)
		}
		data := make([]byte, n)
		if _, err := io.ReadFull(nc, data); err != nil {
			return fmt.Errorf("read option reply: %w", err)
		}
		switch {
		case rep&repErrFlag != 0:
			return fmt.Errorf("%w: option %d, error %d: %.200q", ErrRefused, kind, rep&^repErrFlag, data)
		case rep == repAck:
			each(rep, data)
			return nil
		}
		each(rep, data)
	}
	return fmt.Errorf("option replies: %w", errManyOptions)
}
