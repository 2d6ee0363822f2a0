package pairing

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"beffroi.dev/appliance/config"
	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/cluster"
)

// serviceFile says that this node has founded its pair, and that the citizen
// service's group is still to be made.
const serviceFile = "service-wanted"

// serviceGroup is the name of that group.
const serviceGroup = "citizen"

// Bounds of the citizen service's volume; between them it is an eighth of the store.
// Space is taken when it is written.
const (
	minService = 256 << 20
	maxService = 64 << 30
)

// ServiceBytes is the size of the citizen service's volume on a store.
func ServiceBytes(store int64) int64 {
	return min(max(store/8, minService), maxService) &^ (1<<20 - 1)
}

// Unfinished reports whether a founded node has something left to tell or to do.
func Unfinished(d config.Dir) bool {
	for _, name := range []string{recordFile, secretsFile, serviceFile} {
		if _, err := os.Stat(filepath.Join(string(d), name)); err == nil {
			return true
		}
	}
	return false
}

// Votes is what MakeService needs of the node service.
type Votes interface {
	Watch(ctx context.Context, after uint64) (*cluster.State, error)
	Propose(ctx context.Context, do cluster.Action) (cluster.Result, error)
}

// MakeService gives a new pair the citizen service's group, if this node has founded
// it and nobody has given it one. Each step looks first whether it was made in an
// earlier life; it tries until it has succeeded or ctx ends.
func (e *Engine) MakeService(ctx context.Context, v Votes, self ident.Node, bytes int64) error {
	if _, err := os.Stat(e.folder.path(serviceFile)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for ctx.Err() == nil {
		err := makeService(ctx, v, self, bytes)
		if err == nil {
			return e.folder.remove(serviceFile)
		}
		e.log.Info("the citizen service has no group yet", "cause", err)
		select {
		case <-ctx.Done():
		case <-time.After(settleEvery):
		}
	}
	return ctx.Err()
}

func makeService(ctx context.Context, v Votes, self ident.Node, bytes int64) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	st, err := v.Watch(ctx, 0)
	if err != nil || st.Service.Group != 0 {
		return err
	}
	var group ident.Group
	for id, g := range st.Groups {
		if g.Name == serviceGroup {
			group = id
		}
	}
	if group == 0 {
		made, err := v.Propose(ctx, &cluster.CreateGroup{
			Name: serviceGroup, Preferred: self, Durability: cluster.Strict, Volumes: []cluster.NewVolume{{Name: "data", SizeBytes: bytes}},
		})
		if err != nil {
			return fmt.Errorf("make the citizen service's group: %w", err)
		}
		group = made.Group
	}
	if _, err := v.Propose(ctx, &cluster.SetService{Group: group}); err != nil {
		return fmt.Errorf("give the citizen service its group: %w", err)
	}
	return nil
}
