package store

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"beffroi.dev/appliance/config"
	"beffroi.dev/pkg/block/seglog"
	"beffroi.dev/pkg/disk"
	"beffroi.dev/pkg/disk/labdisk"
	"beffroi.dev/pkg/ident"
)

// ErrReplaced is returned when the store's disk is blank although this node had
// a store: it must join again as a new replica, which is a replacement of this node.
var ErrReplaced = errors.New("the store's disk is blank, but this node already had a store; write the image to its disk anew, then have this node replaced at its twin's console")

// ErrReplica is returned for a store that is another replica of the same pair.
var ErrReplica = errors.New("the store is another replica")

// openDevice opens the node's store device, and formats it if it is blank and
// this node never had one.
func openDevice(dir config.Dir, n *config.Node) (disk.Device, error) {
	f, err := disk.OpenFile(n.Store.Path)
	if err != nil {
		return nil, err
	}
	if err := adopt(f, dir, seglog.Identity{Pair: n.Pair, Replica: n.Me().Replica}); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("store %s: %w", n.Store.Path, err)
	}
	if n.Store.LabDisk {
		return labdisk.New(f, n.Store.LabSeed), nil
	}
	return f, nil
}

// adopt makes sure that the device holds this node's replica.
func adopt(dev disk.Device, dir config.Dir, want seglog.Identity) error {
	own := dir.Own("block")
	if err := os.MkdirAll(own, 0o700); err != nil {
		return fmt.Errorf("mark of the store: %w", err)
	}
	marker := filepath.Join(own, "store-made")
	id, err := seglog.ReadIdentity(dev)
	_, unmarked := os.Stat(marker)
	switch {
	case unmarked == nil && (errors.Is(err, seglog.ErrBlank) || errors.Is(err, seglog.ErrOther)):
		return ErrReplaced
	case errors.Is(err, seglog.ErrBlank):
		var salt [8]byte
		_, _ = rand.Read(salt[:])
		if err := seglog.Format(dev, want, binary.LittleEndian.Uint64(salt[:])); err != nil {
			return err
		}
		return mark(marker, want.Replica)
	case err != nil:
		return err
	case id.Pair != want.Pair:
		return fmt.Errorf("%w: %v, ours is %v", seglog.ErrForeign, id.Pair, want.Pair)
	case id.Replica != want.Replica:
		return fmt.Errorf("%w: %v, this node's is %v", ErrReplica, id.Replica, want.Replica)
	}
	return mark(marker, want.Replica)
}

// mark records durably that this node has had a store.
func mark(path string, r ident.UUID) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("mark the store: %w", err)
	}
	_, err = fmt.Fprintln(f, r)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("mark the store: %w", err)
	}
	return nil
}
