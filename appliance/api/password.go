package api

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strings"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
)

// Parameters of argon2id: the second choice of RFC 9106, for machines that do
// other things too.
const (
	argonTime     = 3
	argonMemoryKB = 64 << 10
	argonThreads  = 4
	saltSize      = 16
	hashSize      = 32
)

// Bounds of a stored hash's parameters: what it says is not to take the machine
// down.
const (
	maxArgonTime     = 10
	maxArgonMemoryKB = 256 << 10
)

const (
	minPassword = 12  // characters
	maxPassword = 200 // bytes
)

// HashPassword gives the text form of a password's argon2id hash. A password that
// is not allowed is refused with what is.
func HashPassword(password string) (string, error) {
	if utf8.RuneCountInString(password) < minPassword || len(password) > maxPassword || !utf8.ValidString(password) {
		return "", badInput("the password is not allowed: use %d characters to %d bytes", minPassword, maxPassword)
	}
	salt := make([]byte, saltSize)
	_, _ = rand.Read(salt) // never fails (Go 1.24)
	key := argon2.IDKey([]byte(password), salt, argonTime, argonMemoryKB, argonThreads, hashSize)
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, argonMemoryKB, argonTime, argonThreads, b64.EncodeToString(salt), b64.EncodeToString(key)), nil
}

// VerifyPassword tells whether a password has a hash. It takes 64 MiB and some
// 100 ms: the caller bounds how many run at a time.
func VerifyPassword(hash, password string) bool {
	parts := strings.Split(hash, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" || parts[2] != fmt.Sprintf("v=%d", argon2.Version) || len(password) > maxPassword {
		return false
	}
	var memory, time uint32
	var threads uint8
	if n, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &memory, &time, &threads); n != 3 || err != nil {
		return false
	}
	if memory < 8 || memory > maxArgonMemoryKB || time < 1 || time > maxArgonTime || threads < 1 {
		return false
	}
	salt, err := base64.RawStdEncoding.DecodeString(parts[4])
	if err != nil {
		return false
	}
	key, err := base64.RawStdEncoding.DecodeString(parts[5])
	if err != nil || len(key) < 16 || len(key) > 64 {
		return false
	}
	got := argon2.IDKey([]byte(password), salt, time, memory, threads, uint32(len(key)))
	return subtle.ConstantTimeCompare(got, key) == 1
}
