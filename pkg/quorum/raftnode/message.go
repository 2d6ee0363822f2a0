package raftnode

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"beffroi.dev/pkg/ident"
)

// The first byte of every message on the vote channel. Never reused.
const (
	tagRaft   = 1 // a message of raft: the rest is a raftpb.Message
	tagAsk    = 2 // a renewal: 8 bytes, its number
	tagAnswer = 3 // 8 bytes, the number; then for each node 8 bytes identity, 8 bytes silence in ns
	tagWall   = 4 // 8 bytes: what the sender's clock shows, milliseconds since 1970
)

// maxSilences bounds an answer: there are three voters.
const maxSilences = 16

var (
	errRenewal = errors.New("bad renewal message")
	errWall    = errors.New("bad time of day")
)

func encodeAsk(number uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{tagAsk}, number)
}

func encodeAnswer(number uint64, silences map[ident.Node]time.Duration) []byte {
	b := binary.BigEndian.AppendUint64([]byte{tagAnswer}, number)
	for _, n := range sortedKeys(silences) {
		b = binary.BigEndian.AppendUint64(b, uint64(n))
		b = binary.BigEndian.AppendUint64(b, uint64(silences[n]))
	}
	return b
}

func encodeWall(t time.Time) []byte {
	return binary.BigEndian.AppendUint64([]byte{tagWall}, uint64(t.UnixMilli()))
}

// maxWall bounds a time of day: the year 9999.
const maxWall = 253402300799999

// decodeWall reads what follows the tag.
func decodeWall(b []byte) (time.Time, error) {
	if len(b) != 8 {
		return time.Time{}, fmt.Errorf("%w: %d bytes", errWall, len(b))
	}
	ms := int64(binary.BigEndian.Uint64(b))
	if ms < 0 || ms > maxWall {
		return time.Time{}, fmt.Errorf("%w: %d", errWall, ms)
	}
	return time.UnixMilli(ms), nil
}

// decodeRenewal reads what follows the tag of an ask (which has no silences)
// or of an answer.
func decodeRenewal(b []byte) (number uint64, silences map[ident.Node]time.Duration, err error) {
	if len(b) < 8 || (len(b)-8)%16 != 0 || (len(b)-8)/16 > maxSilences {
		return 0, nil, fmt.Errorf("%w: %d bytes", errRenewal, len(b))
	}
	number = binary.BigEndian.Uint64(b)
	silences = map[ident.Node]time.Duration{}
	for b = b[8:]; len(b) > 0; b = b[16:] {
		n, d := ident.Node(binary.BigEndian.Uint64(b)), time.Duration(binary.BigEndian.Uint64(b[8:]))
		if _, twice := silences[n]; twice || n == 0 || d < 0 {
			return 0, nil, fmt.Errorf("%w: node %v, silence %v", errRenewal, n, d)
		}
		silences[n] = d
	}
	return number, silences, nil
}
