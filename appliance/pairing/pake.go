package pairing

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"errors"

	"github.com/cloudflare/circl/group"
)

// The key exchange that a short code authenticates is CPace over ristretto255. Both
// sides derive a generator from the code and from what names this one meeting, and
// do a Diffie-Hellman exchange with it: who does not know the code learns nothing,
// and can try one code for each meeting. docs/decisions/0007-pairing.md says why it
// is composed here.
const (
	pointSize = 32
	macSize   = sha256.Size
)

var errPoint = errors.New("not a point of the group")

// meeting is what both sides must agree on besides the code.
type meeting struct {
	channel         []byte // exported from the TLS connection: another one at a man in the middle
	founder, member []byte // public keys
}

// exchange is one side of a key exchange.
type exchange struct {
	meeting
	secret group.Scalar
	Share  []byte // for the other side
}

// newExchange begins one; the same for both sides.
func newExchange(c Code, m meeting) (*exchange, error) {
	g := group.Ristretto255
	generator := g.HashToElement(fields([]byte(c), m.channel, m.founder, m.member), []byte("beffroi pairing 1 generator"))
	e := &exchange{meeting: m, secret: g.RandomNonZeroScalar(rand.Reader)}
	var err error
	e.Share, err = g.NewElement().Mul(generator, e.secret).MarshalBinary()
	return e, err
}

// proofs are what each side sends to show that it knows the code; a and b are the
// shares of the founder and of the member, and other is that of the other side.
func (e *exchange) proofs(a, b, other []byte) (founder, member []byte, err error) {
	g := group.Ristretto255
	p := g.NewElement()
	if len(other) != pointSize || p.UnmarshalBinary(other) != nil || p.IsIdentity() {
		return nil, nil, errPoint
	}
	shared, err := g.NewElement().Mul(p, e.secret).MarshalBinary()
	if err != nil {
		return nil, nil, err
	}
	key := sha512.Sum512(fields([]byte("beffroi pairing 1 key"), e.channel, e.founder, e.member, shared, a, b))
	mac := func(who string) []byte {
		h := hmac.New(sha256.New, key[:])
		h.Write([]byte(who))
		return h.Sum(nil)
	}
	return mac("founder"), mac("member"), nil
}

// fields joins byte strings so that no two lists give the same bytes.
func fields(all ...[]byte) []byte {
	var b []byte
	for _, f := range all {
		b = binary.BigEndian.AppendUint32(b, uint32(len(f)))
		b = append(b, f...)
	}
	return b
}
