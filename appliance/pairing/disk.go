package pairing

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"beffroi.dev/appliance/config"
	"beffroi.dev/appliance/seed"
	"beffroi.dev/pkg/ident"
)

// Files in the state folder, all mode 0600 and written whole:
//
//	identity.json        this member's replica, beside its key; from the first boot
//	founding-kept.json   Document: prepared, and waiting for the founder's word
//	founding.json        Record: this node founds, or has to tell of it
//	founding-id          the founding that config.json comes from
//	first-secrets.json   Secrets: not yet noted by a person
//	replacing.json       Replacement: this node has its twin replaced, and has to tell of it
//	service-wanted       the founder still has to make the citizen service's group
//
// Founding and Kept are removed when all is said. config.json is written last.
type folder struct {
	dir   config.Dir
	key   ed25519.PrivateKey
	store string // where a node's blocks lie
}

const (
	identityFile = "identity.json"
	keptFile     = "founding-kept.json"
	recordFile   = "founding.json"
	idFile       = "founding-id"
	secretsFile  = "first-secrets.json"
	replaceFile  = "replacing.json"
)

func (f *folder) path(name string) string { return filepath.Join(string(f.dir), name) }

// openFolder opens a state folder, and gives a new one its identity. One that belongs to
// a pair has it, whether it was founded or came with a seed.
func openFolder(d config.Dir, store string) (*folder, ident.UUID, error) {
	f := &folder{dir: d, store: store}
	if err := os.MkdirAll(string(d), 0o700); err != nil {
		return nil, ident.UUID{}, fmt.Errorf("make state folder: %w", err)
	}
	if n, err := config.Load(d); err == nil {
		f.key, err = config.LoadKey(d)
		return f, n.Me().Replica, err
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, ident.UUID{}, err
	}
	var id struct {
		Replica ident.UUID `json:"replica"`
	}
	if err := f.read(identityFile, &id); err != nil {
		return nil, id.Replica, err
	}
	if id.Replica.IsZero() {
		id.Replica = ident.NewUUID()
		_, key, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return nil, id.Replica, fmt.Errorf("make a key: %w", err)
		}
		// The key first: the identity says that it is there.
		if err := errors.Join(seed.WriteWhole(d.Key(), key.Seed()), f.write(identityFile, id)); err != nil {
			return nil, id.Replica, err
		}
	}
	var err error
	f.key, err = config.LoadKey(d)
	return f, id.Replica, err
}

// read reads a file; one that is not there changes nothing.
func (f *folder) read(name string, v any) error {
	b, err := os.ReadFile(f.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = json.Unmarshal(b, v)
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", f.path(name), err)
	}
	return nil
}

func (f *folder) write(name string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return seed.WriteWhole(f.path(name), b)
}

func (f *folder) remove(name string) error {
	if err := os.Remove(f.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove %s: %w", name, err)
	}
	return seed.SyncFolder(string(f.dir))
}

func (f *folder) Kept() (*Document, error) {
	var d *Document
	return d, f.read(keptFile, &d)
}
func (f *folder) Keep(d *Document) error { return f.write(keptFile, d) }
func (f *folder) Forget() error          { return f.remove(keptFile) }

func (f *folder) Record() (*Record, error) {
	var r *Record
	return r, f.read(recordFile, &r)
}
func (f *folder) Write(r *Record) error { return f.write(recordFile, r) }
func (f *folder) Close() error          { return f.remove(recordFile) }

func (f *folder) Replacement() (*Replacement, error) {
	var r *Replacement
	return r, f.read(replaceFile, &r)
}
func (f *folder) Note(r *Replacement) error { return f.write(replaceFile, r) }
func (f *folder) Strike() error             { return f.remove(replaceFile) }

// discard removes what belongs to a founding of this node that was not decided.
func (f *folder) discard() error {
	id, err := f.Founded()
	if err != nil {
		return err
	}
	r, err := f.Record()
	if err != nil || !id.IsZero() || r != nil && r.Decided {
		return err
	}
	return errors.Join(f.remove(secretsFile), f.remove(serviceFile))
}

func (f *folder) Adopt(d *Document) error {
	own := *d
	node := *d.Node
	if own.Node = &node; d.Network != nil { // a node
		node.Store.Path = f.store
	}
	if err := f.write(idFile, d.Founding); err != nil {
		return err
	}
	return own.seed(f.key).Adopt(f.dir)
}

func (f *folder) Founded() (ident.UUID, error) {
	var id ident.UUID
	n, err := config.Load(f.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return id, nil
	}
	if err != nil {
		return id, err
	}
	if err := f.read(idFile, &id); err != nil || !id.IsZero() {
		return id, err
	}
	return n.Pair, nil // from a seed: some founding, not one of ours
}
