package nbd

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// option is one option header of the negotiation.
type option struct {
	kind   uint32
	length uint32
}

func parseOption(b []byte) (option, error) {
	_ = b[optHeaderSize-1]
	if binary.BigEndian.Uint64(b) != magicOption {
		return option{}, errMagic
	}
	return option{kind: binary.BigEndian.Uint32(b[8:]), length: binary.BigEndian.Uint32(b[12:])}, nil
}

func appendOption(b []byte, kind uint32, data []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, magicOption)
	b = binary.BigEndian.AppendUint32(b, kind)
	b = binary.BigEndian.AppendUint32(b, uint32(len(data)))
	return append(b, data...)
}

func appendOptReply(b []byte, kind, reply uint32, data []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, magicOptReply)
	b = binary.BigEndian.AppendUint32(b, kind)
	b = binary.BigEndian.AppendUint32(b, reply)
	b = binary.BigEndian.AppendUint32(b, uint32(len(data)))
	return append(b, data...)
}

// errOption is wrapped by every refusal of an option's data.
var errOption = errors.New("malformed option")

// cutString takes a length and that many bytes off b.
func cutString(b []byte) (s string, rest []byte, err error) {
	if len(b) < 4 {
		return "", nil, fmt.Errorf("%w: no room for a length", errOption)
	}
	n := binary.BigEndian.Uint32(b)
	b = b[4:]
	if n > maxName {
		return "", nil, fmt.Errorf("%w: a string of %d bytes, at most %d are allowed", errOption, n, maxName)
	}
	if uint64(n) > uint64(len(b)) {
		return "", nil, fmt.Errorf("%w: a string longer than the option", errOption)
	}
	return string(b[:n]), b[n:], nil
}

// infoRequest is the data of INFO and GO.
type infoRequest struct {
	name  string
	infos []uint16
}

func parseInfo(b []byte) (infoRequest, error) {
	name, b, err := cutString(b)
	if err != nil {
		return infoRequest{}, err
	}
	if len(b) < 2 {
		return infoRequest{}, fmt.Errorf("%w: no count of information requests", errOption)
	}
	n := int(binary.BigEndian.Uint16(b))
	b = b[2:]
	if len(b) != 2*n {
		return infoRequest{}, fmt.Errorf("%w: %d information requests in %d bytes", errOption, n, len(b))
	}
	r := infoRequest{name: name}
	for ; len(b) > 0; b = b[2:] {
		r.infos = append(r.infos, binary.BigEndian.Uint16(b))
	}
	return r, nil
}

// metaRequest is the data of LIST_META_CONTEXT and SET_META_CONTEXT.
type metaRequest struct {
	name    string
	queries []string
}

func parseMeta(b []byte) (metaRequest, error) {
	name, b, err := cutString(b)
	if err != nil {
		return metaRequest{}, err
	}
	if len(b) < 4 {
		return metaRequest{}, fmt.Errorf("%w: no count of queries", errOption)
	}
	n := binary.BigEndian.Uint32(b)
	b = b[4:]
	r := metaRequest{name: name}
	for ; n > 0; n-- { // ends early: each query takes four bytes at least
		var q string
		if q, b, err = cutString(b); err != nil {
			return metaRequest{}, err
		}
		r.queries = append(r.queries, q)
	}
	if len(b) != 0 {
		return metaRequest{}, fmt.Errorf("%w: %d bytes after the queries", errOption, len(b))
	}
	return r, nil
}

// matchesAllocation tells whether a query asks for base:allocation. A list may
// ask for a whole namespace.
func (r metaRequest) matchesAllocation(list bool) bool {
	if list && len(r.queries) == 0 {
		return true
	}
	for _, q := range r.queries {
		if q == metaAllocation || list && q == "base:" {
			return true
		}
	}
	return false
}
