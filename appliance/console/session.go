package console

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"sync"
	"time"

	"beffroi.dev/pkg/quorum/cluster"
)

// cookieName makes browsers insist on Secure, on the whole site and on this host.
const cookieName = "__Host-beffroi"

// maxSessions bounds the memory; the one idle longest gives way.
const maxSessions = 256

// session is one browser that has signed in.
type session struct {
	user string
	hash string // of the account then: a new password ends its sessions
	last time.Time
}

// sessions are kept by the digest of their secret.
type sessions struct {
	idle time.Duration

	mu  sync.Mutex // guards all
	all map[[sha256.Size]byte]session
}

func newSessions(idle time.Duration) *sessions {
	return &sessions{idle: idle, all: map[[sha256.Size]byte]session{}}
}

// open begins a session and returns its secret, 256 random bits.
func (s *sessions) open(user, hash string, now time.Time) string {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never fails (Go 1.24)
	secret := base64.RawURLEncoding.EncodeToString(b)
	s.mu.Lock()
	defer s.mu.Unlock()
	var oldest [sha256.Size]byte
	for k, v := range s.all {
		if now.Sub(v.last) > s.idle {
			delete(s.all, k)
		} else if o, ok := s.all[oldest]; !ok || v.last.Before(o.last) {
			oldest = k
		}
	}
	if len(s.all) >= maxSessions {
		delete(s.all, oldest)
	}
	s.all[sha256.Sum256([]byte(secret))] = session{user: user, hash: hash, last: now}
	return secret
}

// find returns the session of a request. Looking on by itself, as a live page
// does, does not keep it alive: touch does.
func (s *sessions) find(r *http.Request, now time.Time, touch bool) (session, bool) {
	c, err := r.Cookie(cookieName)
	if err != nil {
		return session{}, false
	}
	key := sha256.Sum256([]byte(c.Value))
	s.mu.Lock()
	defer s.mu.Unlock()
	v, ok := s.all[key]
	if !ok {
		return session{}, false
	}
	if now.Sub(v.last) > s.idle {
		delete(s.all, key)
		return session{}, false
	}
	if touch {
		v.last = now
		s.all[key] = v
	}
	return v, true
}

func (s *sessions) close(r *http.Request) {
	if c, err := r.Cookie(cookieName); err == nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.all, sha256.Sum256([]byte(c.Value)))
	}
}

func sessionCookie(secret string) *http.Cookie {
	c := &http.Cookie{Name: cookieName, Value: secret, Path: "/", HttpOnly: true, Secure: true, SameSite: http.SameSiteStrictMode}
	if secret == "" {
		c.MaxAge = -1
	}
	return c
}

// visitor is who looks, as the voted state knows them now.
type visitor struct {
	name string
	role cluster.Role
}

func (v visitor) administers() bool { return v.role == cluster.RoleAdmin }

func (v visitor) operates() bool {
	return v.role == cluster.RoleAdmin || v.role == cluster.RoleOperator
}

// visitor finds who a request is from.
func (c *Console) visitor(r *http.Request, touch bool) (visitor, bool) {
	s, ok := c.sessions.find(r, time.Now(), touch)
	if !ok {
		return visitor{}, false
	}
	u, exists := c.feed.now().users[s.user]
	if !exists || u.Hash != s.hash {
		c.sessions.close(r)
		return visitor{}, false
	}
	return visitor{name: s.user, role: u.Role}, true
}
