package console

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/pquerna/otp/totp"

	"beffroi.dev/appliance/api"
	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/cluster"
)

const (
	firstUser    = "admin"
	maxHashing   = 2                // passwords hashed at a time, 64 MiB each
	maxForm      = 8 << 10          // bytes of a form
	readBound    = 10 * time.Second // of a form
	proposeBound = 10 * time.Second // of the first account
)

// nobody is a hash of no password, so that a name that does not exist takes as
// long as one that does.
const nobody = "$argon2id$v=19$m=65536,t=3,p=4$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

// Why a sign-in did not succeed; each is the key of its words.
var (
	errWrong   = errors.New("login.wrong")
	errSilent  = errors.New("login.silent")
	errNoVotes = errors.New("login.novotes")
	errNobody  = errors.New("login.nobody")
	errOften   = errors.New("login.often")
)

func (c *Console) showLogin(w http.ResponseWriter, r *http.Request) {
	if _, ok := c.visitor(r, true); ok {
		http.Redirect(w, r, "/", http.StatusSeeOther)
		return
	}
	var problem error
	switch s := c.feed.now(); {
	case !s.known:
		problem = errSilent
	case len(s.users) == 0 && c.firstPassword() == "":
		problem = errNobody
	}
	c.renderLogin(w, r, http.StatusOK, "", problem)
}

// readForm reads a form within its bounds, or answers.
func readForm(w http.ResponseWriter, r *http.Request) bool {
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(readBound)) // a slow form is cut off
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		http.Error(w, "the form cannot be read", http.StatusBadRequest)
		return false
	}
	return true
}

func (c *Console) login(w http.ResponseWriter, r *http.Request) {
	if !readForm(w, r) {
		return
	}
	name, from, now := strings.TrimSpace(r.PostForm.Get("name")), host(r), time.Now()
	if ident.CheckName(name) != nil {
		name = "-" // no account has it; counted as one
	}
	wait := c.byAddress.take(from, now)
	if wait == 0 {
		wait = c.byAccount.take(name, now)
	}
	if wait > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
		c.log.Warn("sign-in refused for a while", "user", name, "from", from)
		c.renderLogin(w, r, http.StatusTooManyRequests, name, errOften)
		return
	}
	hash, err := c.authenticate(r.Context(), name, r.PostForm.Get("password"), r.PostForm.Get("code"))
	if err != nil {
		c.log.Warn("sign-in failed", "user", name, "from", from, "cause", err)
		code := http.StatusUnauthorized
		if !errors.Is(err, errWrong) {
			code = http.StatusServiceUnavailable
		}
		c.renderLogin(w, r, code, name, err)
		return
	}
	c.byAddress.forgive(from)
	c.byAccount.forgive(name)
	c.sessions.close(r)
	http.SetCookie(w, sessionCookie(c.sessions.open(name, hash, now)))
	c.log.Info("signed in", "user", name, "from", from)
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

func (c *Console) logout(w http.ResponseWriter, r *http.Request) {
	c.sessions.close(r)
	http.SetCookie(w, sessionCookie(""))
	http.Redirect(w, r, "/login", http.StatusSeeOther)
}

// authenticate returns the hash of the account that the password opens.
func (c *Console) authenticate(ctx context.Context, name, password, code string) (string, error) {
	s := c.feed.now()
	if !s.known {
		return "", errSilent
	}
	if len(s.users) == 0 {
		return c.first(ctx, name, password)
	}
	u, exists := s.users[name]
	hash := nobody
	if exists {
		hash = u.Hash
	}
	select {
	case c.hashing <- struct{}{}:
	case <-ctx.Done():
		return "", errWrong
	}
	right := api.VerifyPassword(hash, password)
	<-c.hashing
	if !exists || !right || u.TOTP != "" && !c.codeFits(name, strings.ReplaceAll(code, " ", ""), u.TOTP) {
		return "", errWrong
	}
	return u.Hash, nil
}

// codeFits accepts each code once.
func (c *Console) codeFits(name, code, secret string) bool {
	if !totp.Validate(code, secret) {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.codes[name] == code {
		return false
	}
	c.codes[name] = code
	return true
}

// first turns the first password into the first account.
func (c *Console) first(ctx context.Context, name, password string) (string, error) {
	first := c.firstPassword()
	if first == "" {
		return "", errNobody
	}
	got, want := sha256.Sum256([]byte(password)), sha256.Sum256([]byte(first))
	if subtle.ConstantTimeCompare(got[:], want[:]) != 1 || name != firstUser {
		return "", errWrong
	}
	c.hashing <- struct{}{}
	hash, err := api.HashPassword(password)
	<-c.hashing
	if err != nil {
		return "", fmt.Errorf("first password: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, proposeBound)
	defer cancel()
	_, err = c.ctl.Propose(ctx, &cluster.SetUser{Name: firstUser, User: cluster.User{Role: cluster.RoleAdmin, Hash: hash}})
	if err != nil {
		c.log.Warn("the first account cannot be made", "cause", err)
		return "", errNoVotes
	}
	if !c.feed.awaitUser(ctx, firstUser) {
		return "", errSilent
	}
	return c.feed.now().users[firstUser].Hash, nil
}

// firstPassword is the content of admin-password; none if it is not there or
// would not be allowed.
func (c *Console) firstPassword() string {
	b, err := os.ReadFile(filepath.Join(string(c.cfg.Dir), "admin-password"))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// host is the address that a request comes from, without its port.
func host(r *http.Request) string {
	h, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return h
}
