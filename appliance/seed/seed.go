package seed

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"beffroi.dev/appliance/config"
)

// Version of the format. History: 1 first.
const Version = 1

const (
	magic      = "BFRSEED\x00"
	headerSize = 48
	maxSize    = 1 << 20
)

var (
	// ErrNone is returned when the partition holds no seed.
	ErrNone = errors.New("the seed partition is empty")
	// ErrDamaged is returned for a seed that cannot be read whole.
	ErrDamaged = errors.New("the seed is damaged")
	// ErrNewer is returned for a seed of a newer release.
	ErrNewer = errors.New("the seed was made for a newer release")
	// ErrKey is returned when the seed's key is not that of the node it names.
	ErrKey = errors.New("the seed's key is not the key of the node that it names")
)

// Seed is the document.
type Seed struct {
	Node     *config.Node    `json:"node"`
	Key      []byte          `json:"key"`                // Ed25519 seed of this node, 32 bytes
	Network  json.RawMessage `json:"network,omitempty"`  // type of pkg/host/netcfg
	Token    string          `json:"token,omitempty"`    // the first administrator's, for the API
	Password string          `json:"password,omitempty"` // the first one of the console's user admin
	Rescue   string          `json:"rescue,omitempty"`   // hash of the rescue shell's password (api.HashPassword)
}

// Validate reports all faults.
func (s *Seed) Validate() error {
	if s.Node == nil {
		return fmt.Errorf("%w: it names no node", ErrDamaged)
	}
	err := s.Node.Validate()
	if len(s.Key) != ed25519.SeedSize {
		return errors.Join(err, fmt.Errorf("%w: key of %d bytes", ErrDamaged, len(s.Key)))
	}
	public := ed25519.NewKeyFromSeed(s.Key).Public().(ed25519.PublicKey)
	if !bytes.Equal(public, s.Node.Me().PublicKey) {
		err = errors.Join(err, ErrKey)
	}
	return err
}

// Encode makes the bytes of a seed.
func Encode(s *Seed) ([]byte, error) {
	if err := s.Validate(); err != nil {
		return nil, fmt.Errorf("encode seed: %w", err)
	}
	doc, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("encode seed: %w", err)
	}
	if len(doc) > maxSize {
		return nil, fmt.Errorf("encode seed: %d bytes, at most %d", len(doc), maxSize)
	}
	b := make([]byte, headerSize, headerSize+len(doc))
	copy(b, magic)
	binary.LittleEndian.PutUint32(b[8:], Version)
	binary.LittleEndian.PutUint32(b[12:], uint32(len(doc)))
	sum := sha256.Sum256(doc)
	copy(b[16:], sum[:])
	return append(b, doc...), nil
}

// Read reads the seed at the beginning of r, which is a partition.
func Read(r io.ReaderAt) (*Seed, error) {
	h := make([]byte, headerSize)
	if _, err := r.ReadAt(h, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read seed: %w", err)
	}
	if len(bytes.Trim(h, "\x00")) == 0 {
		return nil, ErrNone
	}
	if string(h[:8]) != magic {
		return nil, fmt.Errorf("%w: it does not begin as a seed does", ErrDamaged)
	}
	if v := binary.LittleEndian.Uint32(h[8:]); v != Version {
		return nil, fmt.Errorf("%w: version %d, this one reads %d", ErrNewer, v, Version)
	}
	n := binary.LittleEndian.Uint32(h[12:])
	if n > maxSize {
		return nil, fmt.Errorf("%w: length %d", ErrDamaged, n)
	}
	doc := make([]byte, n)
	if _, err := r.ReadAt(doc, headerSize); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read seed: %w", err)
	}
	if sum := sha256.Sum256(doc); !slices.Equal(sum[:], h[16:48]) {
		return nil, fmt.Errorf("%w: its checksum does not match", ErrDamaged)
	}
	dec := json.NewDecoder(bytes.NewReader(doc))
	dec.DisallowUnknownFields()
	var s Seed
	if err := dec.Decode(&s); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if err := s.Validate(); err != nil {
		return nil, fmt.Errorf("seed: %w", err)
	}
	return &s, nil
}

// Adopt makes the seed the configuration of a state folder. The configuration
// itself is written last: it says that the others are there.
func (s *Seed) Adopt(d config.Dir) error {
	for _, dir := range []string{string(d), d.Vote(), d.Guests(), d.Uploads()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("adopt seed: %w", err)
		}
	}
	files := map[string][]byte{
		d.Key(): s.Key, d.Token(): []byte(s.Token), Network(d): s.Network, filepath.Join(string(d), "admin-password"): []byte(s.Password), filepath.Join(string(d), "rescue-password"): []byte(s.Rescue),
	}
	for path, b := range files {
		if len(b) == 0 {
			continue
		}
		if err := WriteWhole(path, b); err != nil {
			return fmt.Errorf("adopt seed: %w", err)
		}
	}
	if err := config.Save(d, s.Node); err != nil {
		return err
	}
	return SyncFolder(string(d))
}

// Network is where a state folder keeps the network's configuration.
func Network(d config.Dir) string { return filepath.Join(string(d), "network.json") }

// WriteWhole writes a file of a state folder, mode 0600, so that after a power cut
// it is there whole, or as it was.
func WriteWhole(path string, b []byte) error {
	tmp := path + ".new"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, err = f.Write(b)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return SyncFolder(filepath.Dir(path))
}

// SyncFolder makes durable which files are in a folder.
func SyncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("sync folder: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("sync folder %s: %w", path, err)
	}
	return nil
}

// Erase overwrites the seed with zeros.
func Erase(w io.WriterAt) error {
	if _, err := w.WriteAt(make([]byte, headerSize+maxSize), 0); err != nil {
		return fmt.Errorf("erase seed: %w", err)
	}
	return nil
}
