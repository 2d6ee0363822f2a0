package mirror

import (
	"encoding/binary"
	"errors"
	"fmt"

	"beffroi.dev/pkg/block/frame"
	"beffroi.dev/pkg/clock"
	"beffroi.dev/pkg/disk"
	"beffroi.dev/pkg/ident"
)

// The types of messages; the first byte of each. Part of the protocol.
const (
	msgBeat    = 1
	msgInvite  = 2
	msgJoin    = 3
	msgStream  = 4
	msgForward = 5
	msgReply   = 6
	msgFetch   = 7
	msgFetched = 8
)

// Bounds of what a message may claim.
const (
	maxSections  = 4096    // groups in one beat
	maxDiscarded = 1 << 20 // ranges in a Join
	maxHistory   = 1024
	maxForward   = 32 << 20 // bytes of one forwarded request: the largest an NBD client may send
	maxExtents   = 4096
)

var errMessage = errors.New("malformed message")

// lead is what a primary tells its peer about one group.
type lead struct {
	group   ident.Group
	epoch   ident.Epoch
	attempt uint64
	commit  ident.Seq
	sent    clock.Instant // of the primary's clock; comes back in follow.echo
}

// follow is what a peer answers.
type follow struct {
	group   ident.Group
	epoch   ident.Epoch
	attempt uint64
	pos     uint64    // records of the stream that are durable
	seq     ident.Seq // highest durable sequence number
	echo    clock.Instant
	free    uint64 // blocks that the peer's store can still take
}

type beat struct {
	leads   []lead
	follows []follow
	records []*frame.Record // of groups in leads, in stream order
}

type invite struct {
	group   ident.Group
	attempt uint64
	conf    frame.Conf
}

// epochStart says that records of epoch begin at seq.
type epochStart struct {
	epoch ident.Epoch
	seq   ident.Seq
}

type blockRange struct {
	volume ident.Volume
	lba    uint64
	count  uint64
}

type join struct {
	group     ident.Group
	epoch     ident.Epoch
	attempt   uint64
	watermark ident.Seq
	last      ident.Seq
	history   []epochStart
	discarded []blockRange // outside the set: blocks of the tail above the watermark
}

type stream struct {
	group      ident.Group
	epoch      ident.Epoch
	attempt    uint64
	keep       ident.Seq   // records above it are discarded
	start      ident.Seq   // the last number assigned; outside the set the next record is start+1
	startEpoch ident.Epoch // of record start
	member     bool
	reset      bool
}

type forward struct {
	id     uint64
	group  ident.Group
	epoch  ident.Epoch
	volume ident.Volume
	token  uint64
	op     disk.Op
	flags  disk.Flags
	off    int64
	n      int64
	data   []byte
}

type reply struct {
	id      uint64
	code    replyCode
	data    []byte
	extents []disk.Extent
}

var le = binary.LittleEndian

// beatParts encodes a beat as a head and the payloads of its records, which are
// not copied.
func beatParts(b beat) [][]byte {
	size := 16 + 32*len(b.leads) + 48*len(b.follows)
	for _, r := range b.records {
		size += r.Size()
	}
	h := make([]byte, 0, size)
	h = append(h, msgBeat, 0, 0, 0)
	h = le.AppendUint32(h, uint32(len(b.leads)))
	h = le.AppendUint32(h, uint32(len(b.follows)))
	h = le.AppendUint32(h, uint32(len(b.records)))
	for _, l := range b.leads {
		h = le.AppendUint32(h, uint32(l.group))
		h = le.AppendUint64(h, uint64(l.epoch))
		h = le.AppendUint64(h, l.attempt)
		h = le.AppendUint64(h, uint64(l.commit))
		h = le.AppendUint64(h, uint64(l.sent))
	}
	for _, f := range b.follows {
		h = le.AppendUint32(h, uint32(f.group))
		h = le.AppendUint64(h, uint64(f.epoch))
		h = le.AppendUint64(h, f.attempt)
		h = le.AppendUint64(h, f.pos)
		h = le.AppendUint64(h, uint64(f.seq))
		h = le.AppendUint64(h, uint64(f.echo))
		h = le.AppendUint64(h, f.free)
	}
	for _, r := range b.records {
		h = r.AppendTable(h)
	}
	parts := [][]byte{h}
	for _, r := range b.records {
		if r.Kind.HasPayload() {
			parts = append(parts, r.Data)
		}
	}
	return parts
}

// reader takes fixed-size fields off a message; after the first shortage all
// further reads give zero and err is set.
type reader struct {
	b   []byte
	err error
}

func (r *reader) take(n int) []byte {
	if r.err != nil || n < 0 || len(r.b) < n {
		r.err = errMessage
		return nil
	}
	p := r.b[:n:n]
	r.b = r.b[n:]
	return p
}

func (r *reader) u8() uint8 {
	if p := r.take(1); p != nil {
		return p[0]
	}
	return 0
}

func (r *reader) u32() uint32 {
	if p := r.take(4); p != nil {
		return le.Uint32(p)
	}
	return 0
}

func (r *reader) u64() uint64 {
	if p := r.take(8); p != nil {
		return le.Uint64(p)
	}
	return 0
}

// count reads a length and refuses one above limit or that the rest of the
// message cannot hold at size bytes each.
func (r *reader) count(limit, size int) int {
	n := r.u32()
	if r.err == nil && (n > uint32(limit) || int(n)*size > len(r.b)) {
		r.err = errMessage
	}
	if r.err != nil {
		return 0
	}
	return int(n)
}

func (r *reader) group() ident.Group { return ident.Group(r.u32()) }
func (r *reader) epoch() ident.Epoch { return ident.Epoch(r.u64()) }
func (r *reader) seq() ident.Seq     { return ident.Seq(r.u64()) }

func (r *reader) end() error {
	if r.err == nil && len(r.b) != 0 {
		r.err = fmt.Errorf("%w: %d bytes too many", errMessage, len(r.b))
	}
	return r.err
}

func parseBeat(msg []byte) (beat, error) {
	r := &reader{b: msg}
	r.take(3)
	nl, nf, nr := r.u32(), r.u32(), r.u32()
	if nl > maxSections || nf > maxSections || nr > frame.MaxRecords*4 {
		return beat{}, errMessage
	}
	var b beat
	for range nl {
		b.leads = append(b.leads, lead{r.group(), r.epoch(), r.u64(), r.seq(), clock.Instant(r.u64())})
		if r.err != nil {
			return beat{}, r.err
		}
	}
	for range nf {
		b.follows = append(b.follows, follow{r.group(), r.epoch(), r.u64(), r.u64(), r.seq(), clock.Instant(r.u64()), r.u64()})
		if r.err != nil {
			return beat{}, r.err
		}
	}
	if r.err != nil {
		return beat{}, r.err
	}
	records := make([]frame.Record, 0, min(nr, 1024))
	for range nr {
		rec, rest, err := frame.ParseTable(r.b)
		if err != nil {
			return beat{}, err
		}
		if !rec.Kind.Mapped() {
			return beat{}, fmt.Errorf("%w: record of kind %v", errMessage, rec.Kind)
		}
		r.b = rest
		records = append(records, rec)
	}
	for i := range records {
		rec := &records[i]
		if rec.Kind.HasPayload() {
			if rec.Data = r.take(int(rec.Count) * disk.BlockSize); r.err != nil || !rec.Intact() {
				return beat{}, fmt.Errorf("%w: payload of record %d", errMessage, i)
			}
		}
		b.records = append(b.records, rec)
	}
	return b, r.end()
}

func (m invite) encode() []byte {
	b := le.AppendUint32([]byte{msgInvite}, uint32(m.group))
	b = le.AppendUint64(b, m.attempt)
	return frame.AppendConf(b, m.conf, 0)
}

func parseInvite(msg []byte) (invite, error) {
	r := &reader{b: msg}
	m := invite{group: r.group(), attempt: r.u64()}
	if r.err != nil {
		return m, r.err
	}
	var err error
	if m.conf, _, r.b, err = frame.ParseConf(r.b); err != nil {
		return m, err
	}
	return m, r.end()
}

func (m join) encode() []byte {
	b := le.AppendUint32([]byte{msgJoin}, uint32(m.group))
	for _, v := range []uint64{uint64(m.epoch), m.attempt, uint64(m.watermark), uint64(m.last)} {
		b = le.AppendUint64(b, v)
	}
	b = le.AppendUint32(b, uint32(len(m.history)))
	for _, h := range m.history {
		b = le.AppendUint64(le.AppendUint64(b, uint64(h.epoch)), uint64(h.seq))
	}
	b = le.AppendUint32(b, uint32(len(m.discarded)))
	for _, d := range m.discarded {
		b = le.AppendUint64(le.AppendUint64(le.AppendUint32(b, uint32(d.volume)), d.lba), d.count)
	}
	return b
}

func parseJoin(msg []byte) (join, error) {
	r := &reader{b: msg}
	m := join{group: r.group(), epoch: r.epoch(), attempt: r.u64(), watermark: r.seq(), last: r.seq()}
	for range r.count(maxHistory, 16) {
		m.history = append(m.history, epochStart{r.epoch(), r.seq()})
	}
	for range r.count(maxDiscarded, 20) {
		m.discarded = append(m.discarded, blockRange{ident.Volume(r.u32()), r.u64(), r.u64()})
	}
	return m, r.end()
}

func (m stream) encode() []byte {
	b := le.AppendUint32([]byte{msgStream}, uint32(m.group))
	for _, v := range []uint64{uint64(m.epoch), m.attempt, uint64(m.keep), uint64(m.start), uint64(m.startEpoch)} {
		b = le.AppendUint64(b, v)
	}
	return append(b, flag(m.member), flag(m.reset))
}

func flag(v bool) byte {
	if v {
		return 1
	}
	return 0
}

func parseStream(msg []byte) (stream, error) {
	r := &reader{b: msg}
	m := stream{group: r.group(), epoch: r.epoch(), attempt: r.u64(), keep: r.seq(), start: r.seq(), startEpoch: r.epoch(), member: r.u8() == 1, reset: r.u8() == 1}
	return m, r.end()
}

func (m forward) parts() [][]byte {
	b := le.AppendUint64([]byte{msgForward}, m.id)
	b = le.AppendUint32(b, uint32(m.group))
	b = le.AppendUint64(b, uint64(m.epoch))
	b = le.AppendUint32(b, uint32(m.volume))
	b = le.AppendUint64(b, m.token)
	b = append(b, byte(m.op), byte(m.flags))
	b = le.AppendUint64(b, uint64(m.off))
	b = le.AppendUint64(b, uint64(m.n))
	if len(m.data) == 0 {
		return [][]byte{b}
	}
	return [][]byte{b, m.data}
}

func parseForward(msg []byte) (forward, error) {
	r := &reader{b: msg}
	m := forward{
		id: r.u64(), group: r.group(), epoch: r.epoch(), volume: ident.Volume(r.u32()), token: r.u64(),
		op: disk.Op(r.u8()), flags: disk.Flags(r.u8()), off: int64(r.u64()), n: int64(r.u64()),
	}
	if r.err != nil {
		return m, r.err
	}
	m.data = r.b
	switch {
	case m.op == disk.Write && int64(len(m.data)) != m.n, m.op != disk.Write && len(m.data) != 0,
		m.op == disk.Read && m.n > maxForward, m.off < 0, m.n < 0:
		return m, errMessage
	}
	return m, nil
}

func (m reply) parts() [][]byte {
	b := le.AppendUint64([]byte{msgReply}, m.id)
	b = append(b, byte(m.code))
	b = le.AppendUint32(b, uint32(len(m.extents)))
	for _, e := range m.extents {
		b = le.AppendUint64(b, uint64(e.Len))
		b = append(b, flag(e.Hole), flag(e.Zero))
	}
	if len(m.data) == 0 {
		return [][]byte{b}
	}
	return [][]byte{b, m.data}
}

func parseReply(msg []byte) (reply, error) {
	r := &reader{b: msg}
	m := reply{id: r.u64(), code: replyCode(r.u8())}
	for range r.count(maxExtents, 10) {
		m.extents = append(m.extents, disk.Extent{Len: int64(r.u64()), Hole: r.u8() == 1, Zero: r.u8() == 1})
	}
	m.data = r.b
	return m, r.err
}
