package build

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"beffroi.dev/image/initramfs"
)

// programs compiles what is ours, and the recovery shell.
func (j *job) programs(ctx context.Context) (initramfs.Programs, error) {
	var p initramfs.Programs
	var err error
	if p.Recovery, err = j.recovery(ctx); err != nil {
		return p, err
	}
	j.say("our programs")
	work, err := os.MkdirTemp(j.Cache, "programs-")
	if err != nil {
		return p, fmt.Errorf("build: %w", err)
	}
	defer os.RemoveAll(work)
	if work, err = filepath.Abs(work); err != nil {
		return p, fmt.Errorf("build: %w", err)
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid=",
		"-o", work, "./cmd/pid1", "./cmd/beffroi", "./cmd/beffroictl")
	cmd.Dir = j.Source
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64", "GOAMD64=v1", "GOFLAGS=", "GOWORK=off", "GOEXPERIMENT=")
	if text, err := cmd.CombinedOutput(); err != nil {
		return p, fmt.Errorf("build: go build: %w: %s", err, text)
	}
	for name, to := range map[string]*[]byte{"pid1": &p.Init, "beffroi": &p.Beffroi, "beffroictl": &p.Beffroictl} {
		if *to, err = os.ReadFile(filepath.Join(work, name)); err != nil {
			return p, fmt.Errorf("build: %w", err)
		}
	}
	return p, nil
}

// recovery returns the recovery shell from the cache, or makes it.
func (j *job) recovery(ctx context.Context) ([]byte, error) {
	dir := filepath.Join(j.Source, "image/initramfs/recovery")
	h := sha256.New()
	fmt.Fprintln(h, runtime.Version(), strings.Join(initramfs.RecoveryCommands, " "))
	for _, n := range []string{"go.mod", "go.sum", "../recovery.go"} {
		b, err := os.ReadFile(filepath.Join(dir, n))
		if err != nil {
			return nil, fmt.Errorf("build: %w", err)
		}
		h.Write(b)
	}
	file := filepath.Join(j.Cache, "bb-"+hex.EncodeToString(h.Sum(nil))[:16])
	if b, err := os.ReadFile(file); err == nil {
		j.say("recovery shell: as the last time")
		return b, nil
	}
	j.say("recovery shell")
	work, err := os.MkdirTemp("", "beffroi-recovery-")
	if err != nil {
		return nil, fmt.Errorf("build: %w", err)
	}
	defer os.RemoveAll(work)
	b, err := initramfs.BuildRecovery(ctx, dir, work)
	if err != nil {
		return nil, err
	}
	return b, replace(file, b)
}
