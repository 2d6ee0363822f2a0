package casefile

import (
	"crypto/rand"
	"errors"
	"math/big"
	"strings"
)

// A tracking code is 13 random symbols and a check symbol, 63 bits: it cannot
// be guessed, fits a text message, and survives being read aloud. The alphabet
// leaves out what looks alike (0 O, 1 I L, S, U) and has a prime length, so that
// the weighted sum finds every single wrong symbol and every swap of two.
const (
	codeAlphabet = "23456789ABCDEFGHJKMNPQRTVWXYZ"
	codeSymbols  = 14
)

// ErrCode is returned for a text that is not a tracking code.
var ErrCode = errors.New("not a tracking code")

// Code is a tracking code, without its dashes.
type Code string

// String prints the code in groups: XXXXX-XXXX-XXXXX.
func (c Code) String() string {
	if len(c) != codeSymbols {
		return string(c)
	}
	return string(c[:5] + "-" + c[5:9] + "-" + c[9:])
}

// newCode draws a code.
func newCode() Code {
	b := make([]byte, 0, codeSymbols)
	for range codeSymbols - 1 {
		n, err := rand.Int(rand.Reader, big.NewInt(int64(len(codeAlphabet))))
		if err != nil {
			panic("casefile: the system has no randomness: " + err.Error()) // crypto/rand never fails (Go 1.24)
		}
		b = append(b, codeAlphabet[n.Int64()])
	}
	return Code(append(b, codeAlphabet[checkSymbol(b)]))
}

func checkSymbol(b []byte) int {
	sum := 0
	for i, c := range b {
		sum += (i + 2) * strings.IndexByte(codeAlphabet, c)
	}
	return sum % len(codeAlphabet)
}

// ParseCode reads a code as people write it: any case, any grouping, and the
// letters that the alphabet avoids taken for what they look like.
func ParseCode(s string) (Code, error) {
	if len(s) > 64 {
		return "", ErrCode
	}
	s = strings.NewReplacer("S", "5", "U", "V", "-", "", " ", "", "\u00a0", "", "–", "", ".", "").Replace(strings.ToUpper(s))
	if len(s) != codeSymbols || strings.Trim(s, codeAlphabet) != "" {
		return "", ErrCode
	}
	if codeAlphabet[checkSymbol([]byte(s[:codeSymbols-1]))] != s[codeSymbols-1] {
		return "", ErrCode
	}
	return Code(s), nil
}

// tokenSymbols is the length of a form token: 26 letters of base 32, 130 bits.
const tokenSymbols = 26

// ErrToken is returned for a form token that this service did not make.
var ErrToken = errors.New("not a form token")

// NewToken draws a form token. It needs no memory on the server: the database's
// unique constraint is what makes an act happen once.
func NewToken() string { return strings.ToLower(rand.Text()) }

// CheckToken tells whether s has the form of a token.
func CheckToken(s string) error {
	if len(s) != tokenSymbols || strings.Trim(s, "abcdefghijklmnopqrstuvwxyz234567") != "" {
		return ErrToken
	}
	return nil
}
