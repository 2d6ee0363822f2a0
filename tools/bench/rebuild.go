package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// changedFile is where the line is changed: deep enough that both programs of the
// image and mkimage itself are built again.
const changedFile = "pkg/host/layout/layout.go"

// ours are the folders and files that an image is built from.
var ours = []string{"go.mod", "go.sum", "appliance", "board", "cmd", "image", "pkg"}

// rebuild measures what a developer waits for after a changed line of ours: mkimage and
// the image, as `make disk` builds them, with all that an earlier build has kept. It
// works on a copy of the source, and writes its image beside it.
func rebuild(ctx context.Context, source, cache string) (time.Duration, error) {
	for _, p := range []*string{&source, &cache} {
		full, err := filepath.Abs(*p)
		if err != nil {
			return 0, err
		}
		*p = full
	}
	if _, err := os.Stat(filepath.Join(source, "go.mod")); err != nil {
		return 0, fmt.Errorf("%s is not the folder of our source: %w", source, err)
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return 0, err
	}
	work, err := os.MkdirTemp(filepath.Dir(cache), "rebuild-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(work)
	copied := filepath.Join(work, "src")
	if err := os.Mkdir(copied, 0o755); err != nil {
		return 0, err
	}
	for _, name := range ours {
		if text, err := exec.CommandContext(ctx, "cp", "-r", filepath.Join(source, name), copied).CombinedOutput(); err != nil {
			return 0, fmt.Errorf("copy the source: %w: %s", err, text)
		}
	}
	if err := buildOnce(ctx, work, cache); err != nil {
		return 0, err
	}
	f, err := os.OpenFile(filepath.Join(copied, changedFile), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return 0, err
	}
	// Another number in each run: Go must not know the change from an earlier one.
	_, err = fmt.Fprintf(f, "\nvar ChangedLine = %d\n", time.Now().UnixNano())
	if err := errors.Join(err, f.Close()); err != nil {
		return 0, err
	}
	begun := time.Now()
	if err := buildOnce(ctx, work, cache); err != nil {
		return 0, err
	}
	return time.Since(begun), nil
}

// buildOnce builds mkimage and has it build the image.
func buildOnce(ctx context.Context, work, cache string) error {
	program := filepath.Join(work, "mkimage")
	for _, args := range [][]string{
		{"go", "build", "-trimpath", "-buildvcs=false", "-o", program, "./cmd/mkimage"},
		{program, "build", "-out", filepath.Join(work, "image"), "-cache", cache},
	} {
		cmd := exec.CommandContext(ctx, args[0], args[1:]...)
		cmd.Dir = filepath.Join(work, "src")
		cmd.Env = append(os.Environ(), "SOURCE_DATE_EPOCH=1700000000") // the copy is no repository
		if text, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", filepath.Base(args[0]), err, text)
		}
	}
	return nil
}
