package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"beffroi.dev/pkg/block/nbd"
	"beffroi.dev/pkg/disk"
	"beffroi.dev/pkg/guest/importer"
	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/cluster"
)

const (
	volumeName = "disk0" // of a VM made of an image
	cleanBound = 15 * time.Second
	dialAgain  = 200 * time.Millisecond
	lanes      = 4 // connections of a copy
)

// debt is what a job has created, in the file of its name beside the upload, so
// that the next life of the service can remove it. A group is noted once it is
// certain that this job created it.
type debt struct {
	Group ident.Group `json:"group"`
}

func debtPath(image string) string { return strings.TrimSuffix(image, ".image") + ".json" }

func (d debt) save(image string) error {
	b, err := json.Marshal(d)
	if err != nil {
		return fmt.Errorf("note what is created: %w", err)
	}
	if err := os.WriteFile(debtPath(image), b, 0o600); err != nil {
		return fmt.Errorf("note what is created: %w", err)
	}
	return nil
}

// fulfil makes a VM of an image, or nothing.
func (a *API) fulfil(ctx context.Context, in imports) {
	var owed debt
	err := a.build(ctx, in, &owed)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = fmt.Errorf("cancelled: %w", err)
		}
		a.log.Warn("import failed", "job", in.id, "vm", in.vm.Name, "cause", err)
		a.jobs.phase(in.id, PhaseClean, 0)
		bound, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanBound)
		defer cancel()
		if late := a.settle(bound, owed); late != nil {
			err = fmt.Errorf("%w; what it created is still there: %w", err, late)
			_ = os.Remove(in.path)
			a.jobs.end(in.id, err)
			return // the note stays, for the next start
		}
	}
	_ = os.Remove(in.path)
	_ = os.Remove(debtPath(in.path))
	a.jobs.end(in.id, err)
}

func (a *API) build(ctx context.Context, in imports, owed *debt) error {
	a.jobs.phase(in.id, PhaseCreate, 0)
	res, err := a.propose(ctx, &cluster.CreateGroup{
		Name: in.vm.Name, Preferred: in.prefer, Durability: cluster.Strict, Volumes: []cluster.NewVolume{{Name: volumeName, SizeBytes: in.size}},
	})
	if err != nil {
		return fmt.Errorf("create group: %w", err)
	}
	owed.Group = res.Group
	if err := owed.save(in.path); err != nil {
		return err
	}
	a.audit(ctx, in.who, cluster.Event{Group: res.Group}, "create group "+in.vm.Name+" for an image")
	a.jobs.phase(in.id, PhaseWait, 0)
	export := in.vm.Name + "/" + volumeName
	client, err := a.serving(ctx, export)
	if err != nil {
		return fmt.Errorf("wait for the group: %w", err)
	}
	defer func() {
		bound, cancel := context.WithTimeout(context.WithoutCancel(ctx), askBound)
		defer cancel()
		_ = client.Close(bound) // nothing is in flight
	}()
	a.jobs.phase(in.id, PhaseCopy, in.image.VirtualSize)
	target := importer.Target{Queue: client, URI: a.uri(export), Zero: true}
	tell := func(done, total int64) { a.jobs.progress(in.id, done, total) }
	if err := importer.Copy(ctx, importer.Config{QemuImg: a.cfg.QemuImg}, in.path, in.image, target, tell); err != nil {
		return err
	}
	a.jobs.phase(in.id, PhaseFinish, 0)
	if err := ctx.Err(); err != nil {
		return err
	}
	// Past this point the job is not undone: the VM may run as soon as it exists.
	if res, err = a.propose(context.WithoutCancel(ctx), in.vm.action(res.Group)); err != nil {
		return fmt.Errorf("create VM: %w", err)
	}
	a.audit(ctx, in.who, cluster.Event{VM: res.VM, Group: res.Group}, "create VM "+in.vm.Name+" from an image")
	return nil
}

// uri is an export as qemu-img wants it.
func (a *API) uri(export string) string {
	return "nbd+unix:///" + (&url.URL{Path: export}).EscapedPath() + "?socket=" + url.QueryEscape(a.cfg.Dir.Socket("nbd"))
}

// serving connects to a new volume and waits until it answers.
func (a *API) serving(ctx context.Context, export string) (*nbd.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, a.cfg.ServeWait)
	defer cancel()
	cfg := nbd.ClientConfig{Network: "unix", Address: a.cfg.Dir.Socket("nbd"), Export: export, Connections: lanes}
	for {
		client, err := nbd.Dial(ctx, cfg, a.log)
		if err == nil {
			if err = answers(ctx, client); err == nil {
				return client, nil
			}
			_ = client.Close(ctx)
		}
		select {
		case <-ctx.Done():
			return nil, &Error{Code: Unavailable, Message: fmt.Sprintf("volume %s does not answer within %v: %v", export, a.cfg.ServeWait, err)}
		case <-time.After(dialAgain): // the block service may not know it yet
		}
	}
}

// answers reads one block.
func answers(ctx context.Context, q disk.Queue) error {
	buf := disk.Aligned(disk.BlockSize)
	done := make(chan error, 1)
	q.Submit([]*disk.Request{{Op: disk.Read, Len: disk.BlockSize, Data: buf, Done: func(r *disk.Request) { done <- r.Err }}})
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// settle removes what a job created. Whatever a VM of somebody else uses by now
// stays.
func (a *API) settle(ctx context.Context, d debt) error {
	if d.Group == 0 {
		return nil
	}
	s, err := a.state(ctx)
	if err != nil {
		return err
	}
	if _, ok := s.Groups[d.Group]; !ok {
		return nil
	}
	for _, v := range s.VMs {
		if v.Group == d.Group {
			return nil // the VM was created after all
		}
	}
	if _, err := a.propose(ctx, &cluster.DeleteGroup{Group: d.Group}); err != nil {
		return fmt.Errorf("delete group %d: %w", d.Group, err)
	}
	a.log.Info("group of a failed import removed", "group", d.Group)
	return nil
}

// recover removes what a former life's jobs left: files at once, groups as soon as
// the vote answers.
func (a *API) recover() error {
	entries, err := os.ReadDir(a.cfg.Dir.Uploads())
	if err != nil {
		return fmt.Errorf("look for uploads: %w", err)
	}
	debts := map[string]debt{}
	for _, e := range entries {
		path := filepath.Join(a.cfg.Dir.Uploads(), e.Name())
		switch filepath.Ext(path) {
		case ".image":
			a.log.Info("unfinished upload removed", "file", e.Name())
			err = errors.Join(err, os.Remove(path))
		case ".json":
			var d debt
			b, readErr := os.ReadFile(path)
			if readErr == nil && json.Unmarshal(b, &d) == nil {
				debts[path] = d
			} else {
				a.log.Warn("note of an import is of no use", "file", e.Name())
				err = errors.Join(err, os.Remove(path))
			}
		}
	}
	if err != nil {
		return fmt.Errorf("remove uploads: %w", err)
	}
	if len(debts) > 0 {
		a.tasks.Go("recover", func(ctx context.Context) error {
			a.pay(ctx, debts)
			return nil
		})
	}
	return nil
}

func (a *API) pay(ctx context.Context, debts map[string]debt) {
	for len(debts) > 0 {
		for path, d := range debts {
			err := a.settle(ctx, d)
			if err == nil || explain(err).Code == Refused {
				_ = os.Remove(path)
				delete(debts, path)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Second):
		}
	}
}
