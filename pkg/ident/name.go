package ident

import (
	"errors"
	"fmt"
)

// MaxName is the longest name of a node, group, volume or VM, in bytes: short
// enough for a column on a serial console and for a file name.
const MaxName = 40

// ErrName is wrapped by every refusal of CheckName.
var ErrName = errors.New("name not allowed")

// CheckName tells whether s may name a node, group, volume or VM: 1 to MaxName
// lower-case letters, digits and dashes, beginning with a letter, not ending
// with a dash. The error says what is allowed.
func CheckName(s string) error {
	ok := len(s) > 0 && len(s) <= MaxName && s[0] >= 'a' && s[0] <= 'z' && s[len(s)-1] != '-'
	for i := 0; ok && i < len(s); i++ {
		c := s[i]
		ok = c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-'
	}
	if !ok {
		return fmt.Errorf("%w: %.60q: use 1 to %d lower-case letters, digits and dashes, beginning with a letter", ErrName, s, MaxName)
	}
	return nil
}
