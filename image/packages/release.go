package packages

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
)

// Keyring is where the package debian-archive-keyring puts Debian's public keys.
const Keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// Archive is a mirror whose signatures are checked.
type Archive struct {
	Base    string // URL
	Keyring string // file
}

// release is what a checked InRelease file says.
type release struct {
	version string
	sums    map[string]string // path to SHA-256
}

// maxIndex bounds what is read of an index, a mirror may send anything.
const maxIndex = 256 << 20

// get fetches a URL; arrived, if there is one, is told of every piece.
func get(ctx context.Context, url string, limit int64, arrived func(bytes int)) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	client := http.Client{Timeout: 10 * time.Minute}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound, http.StatusGone:
		return nil, fmt.Errorf("%s: %s: %w", url, resp.Status, errGone)
	default: // of a mirror in trouble, or of a proxy on the way
		return nil, fmt.Errorf("%s answers %q: try again later, check the proxy (http_proxy, https_proxy), or name another mirror (BEFFROI_DEBIAN_MIRROR)", url, resp.Status)
	}
	b, err := io.ReadAll(counted{io.LimitReader(resp.Body, limit+1), arrived})
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("longer than %d bytes", limit)
	}
	return b, err
}

// counted tells of what is read through it.
type counted struct {
	io.Reader
	arrived func(bytes int)
}

func (c counted) Read(b []byte) (int, error) {
	n, err := c.Reader.Read(b)
	if c.arrived != nil && n > 0 {
		c.arrived(n)
	}
	return n, err
}

var errGone = errors.New("the mirror does not have it")

// release fetches the suite's InRelease and checks who signed it.
func (a Archive) release(ctx context.Context, suite string) (release, error) {
	var r release
	ring, err := os.Open(a.Keyring)
	if err != nil {
		return r, fmt.Errorf("keys of Debian (package debian-archive-keyring): %w", err)
	}
	defer ring.Close()
	keys, err := openpgp.ReadKeyRing(ring)
	if err != nil {
		return r, fmt.Errorf("keyring %s: %w", a.Keyring, err)
	}
	b, err := get(ctx, a.Base+"/dists/"+suite+"/InRelease", 4<<20, nil)
	if err != nil {
		return r, fmt.Errorf("InRelease of %s: %w", suite, err)
	}
	return parseRelease(b, keys)
}

// parseRelease takes only what the signature covers.
func parseRelease(b []byte, keys openpgp.KeyRing) (release, error) {
	var r release
	block, rest := clearsign.Decode(b)
	if block == nil || len(bytes.TrimSpace(rest)) > 0 {
		return r, errors.New("InRelease is not a signed text")
	}
	if _, err := block.VerifySignature(keys, nil); err != nil {
		return r, fmt.Errorf("InRelease: %w", err)
	}
	all := stanzas(string(block.Plaintext))
	if len(all) != 1 {
		return r, errors.New("InRelease has no single paragraph")
	}
	r.version, r.sums = all[0]["Version"], map[string]string{}
	for line := range strings.Lines(all[0]["SHA256"]) {
		if w := strings.Fields(line); len(w) == 3 {
			r.sums[w[2]] = w[0]
		}
	}
	return r, nil
}

// index fetches the list of a component's packages and checks it.
func (a Archive) index(ctx context.Context, r release, suite, component string) ([]map[string]string, error) {
	name := component + "/binary-amd64/Packages.gz"
	want, ok := r.sums[name]
	if !ok {
		return nil, fmt.Errorf("index %s: %w", name, errGone)
	}
	b, err := get(ctx, a.Base+"/dists/"+suite+"/"+name, maxIndex, nil)
	if err != nil {
		return nil, fmt.Errorf("index %s: %w", name, err)
	}
	if sum := sha256.Sum256(b); hex.EncodeToString(sum[:]) != want {
		return nil, fmt.Errorf("index %s does not match the signed list; a mirror in the middle of an update does so for minutes", name)
	}
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, fmt.Errorf("index %s: %w", name, err)
	}
	text, err := io.ReadAll(io.LimitReader(z, maxIndex))
	if err != nil {
		return nil, fmt.Errorf("index %s: %w", name, err)
	}
	return stanzas(string(text)), nil
}
