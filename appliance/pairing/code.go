package pairing

import (
	"crypto/rand"
	"math/big"
	"strings"
)

// alphabet has no look-alikes (0 O, 1 I L); its size is a prime, so that the check
// character finds every wrong character and every exchange of two.
const alphabet = "23456789ABCDEFGHJKMNPQRSTUVWXYZ"

// A code is 8 characters: 2 that the member announces to everybody, so that the
// founder knows whose code was typed; 5 that are secret, 28 million values; 1 check.
const (
	codeLength = 8
	tagLength  = 2
)

// Code is what a member shows and a person types at the founder.
type Code string

// NewCode makes a code.
func NewCode() Code {
	var b [codeLength - 1]byte
	for i := range b {
		n, _ := rand.Int(rand.Reader, big.NewInt(int64(len(alphabet)))) // never fails (Go 1.24)
		b[i] = alphabet[n.Int64()]
	}
	return Code(string(b[:]) + string(check(string(b[:]))))
}

// check is the check character of the others.
func check(s string) byte {
	sum := 0
	for i := range len(s) {
		sum += (i + 1) * strings.IndexByte(alphabet, s[i])
	}
	return alphabet[sum%len(alphabet)]
}

// ParseCode reads what a person typed: in capitals or not, with or without the dash.
func ParseCode(typed string) (Code, error) {
	var b []byte
	for _, r := range strings.ToUpper(typed) {
		if r == '-' || r == ' ' {
			continue
		}
		if r > 0x7f || strings.IndexByte(alphabet, byte(r)) < 0 {
			return "", fault(CodeCharacter, string(r))
		}
		if b = append(b, byte(r)); len(b) > codeLength {
			break
		}
	}
	if len(b) != codeLength {
		return "", fault(CodeLength)
	}
	if check(string(b[:codeLength-1])) != b[codeLength-1] {
		return "", fault(CodeTyped)
	}
	return Code(b), nil
}

// String shows the code in two groups.
func (c Code) String() string {
	if len(c) != codeLength {
		return string(c)
	}
	return string(c[:codeLength/2]) + "-" + string(c[codeLength/2:])
}

// Tag is the part of the code that is no secret.
func (c Code) Tag() string { return string(c[:min(tagLength, len(c))]) }
