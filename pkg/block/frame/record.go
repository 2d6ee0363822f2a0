package frame

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"beffroi.dev/pkg/disk"
	"beffroi.dev/pkg/ident"
)

// Kind says what a record does.
type Kind uint8

// The kinds of records. The numbers are part of the disk and wire formats.
const (
	Write     Kind = 1 // payload: Count blocks at LBA
	Unmap     Kind = 2 // Count blocks at LBA read as zeros and hold no space
	Copy      Kind = 3 // resync of Count committed blocks; Seq is the watermark then
	CopyUnmap Kind = 4 // resync of an unmapped range
	Enter     Kind = 5 // the replica enters Conf's epoch: promise (R2) and configuration (R3)
	Commit    Kind = 6 // everything up to (Epoch, Seq) is committed
	Truncate  Kind = 7 // records above Seq are discarded; their blocks join the discarded set
	Start     Kind = 8 // a resync stream begins: the next live record is Seq+1
	Reset     Kind = 9 // the group's content is forgotten (full resync begins)
	Drop      Kind = 10
)

var kindNames = [...]string{
	Write: "write", Unmap: "unmap", Copy: "copy", CopyUnmap: "copy-unmap", Enter: "enter",
	Commit: "commit", Truncate: "truncate", Start: "start", Reset: "reset", Drop: "drop",
}

// String names the kind.
func (k Kind) String() string {
	if int(k) < len(kindNames) && kindNames[k] != "" {
		return kindNames[k]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Live reports whether the record takes a sequence number of its own.
func (k Kind) Live() bool { return k == Write || k == Unmap }

// Mapped reports whether the record changes blocks (live or copied).
func (k Kind) Mapped() bool { return k >= Write && k <= CopyUnmap }

// HasPayload reports whether Count payload blocks come with the record.
func (k Kind) HasPayload() bool { return k == Write || k == Copy }

// MaxBlocks is the largest Count of a record with payload: 1 MiB. Larger
// requests become several records, so that no frame waits for one guest.
const MaxBlocks = 256

// MaxUnmap is the largest Count of a record without payload, in blocks (64 GiB).
const MaxUnmap = 1 << 24

// Conf is a group's configuration as a record carries it: chosen by vote, one
// for each epoch.
type Conf struct {
	Epoch    ident.Epoch
	Primary  ident.Node
	InSync   []ident.Node // sorted; at most MaxMembers
	CutEpoch ident.Epoch  // last record of the primary when it proposed
	CutSeq   ident.Seq
	Lineage  uint64
}

// MaxBlock is the highest block number of a volume: 64 TiB, the largest volume
// that the vote allows. A record beyond it would make the extent map grow
// without bound.
const MaxBlock = 1 << 34

// MaxMembers bounds the in-sync set of a Conf.
const MaxMembers = 8

// Has reports whether n is in the in-sync set.
func (c Conf) Has(n ident.Node) bool {
	for _, m := range c.InSync {
		if m == n {
			return true
		}
	}
	return false
}

// Record is one decoded record. Sums and Data alias the buffer it was decoded
// from, or belong to whoever built it.
type Record struct {
	Kind   Kind
	Group  ident.Group
	Epoch  ident.Epoch
	Seq    ident.Seq
	Volume ident.Volume
	LBA    uint64 // first block
	Count  uint32 // blocks
	Sums   []uint32
	Data   []byte    // Count * disk.BlockSize bytes when the kind has payload
	Conf   *Conf     // Enter only
	Base   ident.Seq // Enter only: what the peer outside the set is known to hold

	Loc uint64 // block number of the payload on this node's device; not encoded
}

const (
	fixedSize = 40
	confFixed = 56
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)

	// ErrMalformed is wrapped by every refusal to decode.
	ErrMalformed = errors.New("malformed record")
)

// Sum is the checksum of one block: CRC-32C of its bytes, seeded with its
// address, so that a block found in the wrong place does not match.
func Sum(v ident.Volume, lba uint64, block []byte) uint32 {
	var seed [12]byte
	binary.LittleEndian.PutUint32(seed[0:], uint32(v))
	binary.LittleEndian.PutUint64(seed[4:], lba)
	return crc32.Update(crc32.Update(0, castagnoli, seed[:]), castagnoli, block)
}

// Seal fills Sums from Data.
func (r *Record) Seal() {
	if !r.Kind.HasPayload() || r.Sums != nil {
		return
	}
	r.Sums = make([]uint32, r.Count)
	for i := range r.Sums {
		r.Sums[i] = Sum(r.Volume, r.LBA+uint64(i), r.Data[i*disk.BlockSize:(i+1)*disk.BlockSize])
	}
}

// Intact reports whether every block of the payload matches its checksum.
func (r *Record) Intact() bool {
	for i, sum := range r.Sums {
		if Sum(r.Volume, r.LBA+uint64(i), r.Data[i*disk.BlockSize:(i+1)*disk.BlockSize]) != sum {
			return false
		}
	}
	return true
}

// Size is the encoded length of the table entry in bytes, without payload.
func (r *Record) Size() int {
	n := fixedSize
	if r.Kind.HasPayload() {
		n += 4 * int(r.Count)
	}
	if r.Kind == Enter {
		n += confFixed + 8*len(r.Conf.InSync)
	}
	return n
}

// AppendTable appends the table entry of the record to b.
func (r *Record) AppendTable(b []byte) []byte {
	b = append(b, byte(r.Kind), 0, 0, 0)
	b = binary.LittleEndian.AppendUint32(b, uint32(r.Group))
	b = binary.LittleEndian.AppendUint64(b, uint64(r.Epoch))
	b = binary.LittleEndian.AppendUint64(b, uint64(r.Seq))
	b = binary.LittleEndian.AppendUint32(b, uint32(r.Volume))
	b = binary.LittleEndian.AppendUint32(b, r.Count)
	b = binary.LittleEndian.AppendUint64(b, r.LBA)
	if r.Kind.HasPayload() {
		for _, s := range r.Sums {
			b = binary.LittleEndian.AppendUint32(b, s)
		}
	}
	if r.Kind == Enter {
		b = AppendConf(b, *r.Conf, r.Base)
	}
	return b
}

// AppendConf appends a configuration and the base to b.
func AppendConf(b []byte, c Conf, base ident.Seq) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(c.Epoch))
	b = binary.LittleEndian.AppendUint64(b, uint64(c.Primary))
	b = binary.LittleEndian.AppendUint64(b, uint64(c.CutEpoch))
	b = binary.LittleEndian.AppendUint64(b, uint64(c.CutSeq))
	b = binary.LittleEndian.AppendUint64(b, c.Lineage)
	b = binary.LittleEndian.AppendUint64(b, uint64(base))
	b = binary.LittleEndian.AppendUint64(b, uint64(len(c.InSync)))
	for _, n := range c.InSync {
		b = binary.LittleEndian.AppendUint64(b, uint64(n))
	}
	return b
}

// ParseConf reads what AppendConf wrote and returns the rest of b.
func ParseConf(b []byte) (Conf, ident.Seq, []byte, error) {
	if len(b) < confFixed {
		return Conf{}, 0, nil, fmt.Errorf("%w: configuration cut short", ErrMalformed)
	}
	u := func(i int) uint64 { return binary.LittleEndian.Uint64(b[8*i:]) }
	c := Conf{
		Epoch: ident.Epoch(u(0)), Primary: ident.Node(u(1)),
		CutEpoch: ident.Epoch(u(2)), CutSeq: ident.Seq(u(3)), Lineage: u(4),
	}
	base, n := ident.Seq(u(5)), u(6)
	if n > MaxMembers || uint64(len(b)-confFixed) < 8*n {
		return Conf{}, 0, nil, fmt.Errorf("%w: configuration with %d members", ErrMalformed, n)
	}
	for i := range int(n) {
		c.InSync = append(c.InSync, ident.Node(u(7+i)))
	}
	return c, base, b[confFixed+8*n:], nil
}

// ParseTable reads one table entry and returns the rest of b. Data is not set.
func ParseTable(b []byte) (Record, []byte, error) {
	if len(b) < fixedSize {
		return Record{}, nil, fmt.Errorf("%w: entry cut short", ErrMalformed)
	}
	r := Record{
		Kind:   Kind(b[0]),
		Group:  ident.Group(binary.LittleEndian.Uint32(b[4:])),
		Epoch:  ident.Epoch(binary.LittleEndian.Uint64(b[8:])),
		Seq:    ident.Seq(binary.LittleEndian.Uint64(b[16:])),
		Volume: ident.Volume(binary.LittleEndian.Uint32(b[24:])),
		Count:  binary.LittleEndian.Uint32(b[28:]),
		LBA:    binary.LittleEndian.Uint64(b[32:]),
	}
	b = b[fixedSize:]
	switch {
	case r.Kind < Write || r.Kind > Drop:
		return Record{}, nil, fmt.Errorf("%w: %v", ErrMalformed, r.Kind)
	case r.LBA > MaxBlock || r.Kind.Mapped() && r.Count == 0:
		return Record{}, nil, fmt.Errorf("%w: %v of %d blocks at %d", ErrMalformed, r.Kind, r.Count, r.LBA)
	case r.Kind.HasPayload():
		if r.Count > MaxBlocks || len(b) < 4*int(r.Count) {
			return Record{}, nil, fmt.Errorf("%w: %v of %d blocks", ErrMalformed, r.Kind, r.Count)
		}
		r.Sums = make([]uint32, r.Count)
		for i := range r.Sums {
			r.Sums[i] = binary.LittleEndian.Uint32(b[4*i:])
		}
		b = b[4*r.Count:]
	case r.Kind.Mapped() && r.Count > MaxUnmap:
		return Record{}, nil, fmt.Errorf("%w: %v of %d blocks", ErrMalformed, r.Kind, r.Count)
	case r.Kind == Enter:
		c, base, rest, err := ParseConf(b)
		if err != nil {
			return Record{}, nil, err
		}
		r.Conf, r.Base, b = &c, base, rest
	}
	return r, b, nil
}
