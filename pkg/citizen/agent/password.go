package agent

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
)

// The cost of a password: 19 MiB and two passes, what OWASP asks of argon2id.
// It is written into each hash, so it can be raised later.
const (
	costMemory  = 19 << 10 // KiB
	costPasses  = 2
	costThreads = 1
	saltBytes   = 16
	keyBytes    = 32
)

// MinPassword is the shortest password, in characters.
const MinPassword = 12

// maxPassword bounds what is hashed.
const maxPassword = 256

// ErrPassword is returned for a password that may not be used.
var ErrPassword = errors.New("a password has 12 to 256 characters")

var encoding = base64.RawStdEncoding

func checkPassword(p string) error {
	if utf8.RuneCountInString(p) < MinPassword || len(p) > maxPassword {
		return ErrPassword
	}
	return nil
}

// hashPassword writes the form that every argon2 tool knows.
func hashPassword(p string) string {
	salt := make([]byte, saltBytes)
	_, _ = rand.Read(salt) // never fails (Go 1.24)
	key := argon2.IDKey([]byte(p), salt, costPasses, costMemory, costThreads, keyBytes)
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, costMemory, costPasses, costThreads,
		encoding.EncodeToString(salt), encoding.EncodeToString(key))
}

// parsed is a stored password.
type parsed struct {
	memory, passes uint32
	threads        uint8
	salt, key      []byte
}

// parseHash reads what hashPassword wrote, with bounds: the database is ours,
// but a cost read from it must not be able to stop the machine.
func parseHash(s string) (parsed, error) {
	var p parsed
	var version int
	var salt, key string
	n, err := fmt.Sscanf(s, "$argon2id$v=%d$m=%d,t=%d,p=%d$", &version, &p.memory, &p.passes, &p.threads)
	if err != nil || n != 4 || version != argon2.Version {
		return p, errors.New("stored password: unknown form")
	}
	parts := splitLast(s)
	salt, key = parts[0], parts[1]
	if p.salt, err = encoding.DecodeString(salt); err != nil {
		return p, errors.New("stored password: salt")
	}
	if p.key, err = encoding.DecodeString(key); err != nil {
		return p, errors.New("stored password: key")
	}
	if p.memory > 256<<10 || p.passes < 1 || p.passes > 16 || p.threads < 1 || p.threads > 8 || len(p.salt) < 8 || len(p.key) != keyBytes {
		return p, errors.New("stored password: cost out of bounds")
	}
	return p, nil
}

// splitLast returns the last two fields of s, separated by dollars.
func splitLast(s string) (out [2]string) {
	for i := 1; i >= 0; i-- {
		at := len(s) - 1
		for at >= 0 && s[at] != '$' {
			at--
		}
		if at < 0 {
			return out
		}
		out[i], s = s[at+1:], s[:at]
	}
	return out
}

// newDecoy makes a stored password that nothing matches, at the usual cost to
// compare and none to make: a takeover opens the register.
func newDecoy() parsed {
	p := parsed{memory: costMemory, passes: costPasses, threads: costThreads, salt: make([]byte, saltBytes), key: make([]byte, keyBytes)}
	_, _ = rand.Read(p.salt) // never fails (Go 1.24)
	_, _ = rand.Read(p.key)
	return p
}

func (p parsed) matches(password string) bool {
	if len(password) > maxPassword {
		return false
	}
	key := argon2.IDKey([]byte(password), p.salt, p.passes, p.memory, p.threads, uint32(len(p.key)))
	return subtle.ConstantTimeCompare(key, p.key) == 1
}
