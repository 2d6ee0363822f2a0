package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"beffroi.dev/image/build"
	"beffroi.dev/tools/vmpair"
)

// settleAfter is how long the pair is left alone before its memory is looked at.
const settleAfter = 2 * time.Minute

// manifest is what mkimage wrote beside the image.
type manifest struct {
	Parts []struct {
		Name   string `json:"name"`
		Size   int64  `json:"size"`
		SHA256 string `json:"sha256"`
	} `json:"parts"`
}

// measureImage measures how long it takes to build the image again after a changed line,
// boots it on a pair and measures what an idle node takes, and how long it is until it
// serves.
func measureImage(ctx context.Context, image, cache string) error {
	second, err := rebuild(ctx, ".", cache) // before two machines need the processors
	if err != nil {
		return fmt.Errorf("second build of the image: %w", err)
	}

	b, err := os.ReadFile(filepath.Join(filepath.Dir(image), "manifest.json"))
	if err != nil {
		return fmt.Errorf("%w (make image makes it)", err)
	}
	var m manifest
	if err := json.Unmarshal(b, &m); err != nil {
		return fmt.Errorf("manifest.json: %w", err)
	}
	var uki int64
	var sum string
	for _, p := range m.Parts {
		switch {
		case strings.HasSuffix(p.Name, ".efi"):
			uki = p.Size
		case p.Name == filepath.Base(image):
			sum = p.SHA256
		}
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	begun := time.Now()
	pair, boots, err := vmpair.Start(ctx, vmpair.Config{Bin: filepath.Dir(self), Image: image, StoreMB: 512, Out: os.Stderr})
	if err != nil {
		return err
	}
	defer pair.Close()
	ready := time.Since(begun)
	fmt.Printf("\nThe image on two emulated servers, from blank disks\n\n")
	for _, boot := range boots {
		if boot.Table, err = pair.Table(ctx, boot.Node); err != nil {
			return err
		}
		fmt.Print(boot)
	}
	fmt.Printf("power-on of both until citizens are served from a mirrored volume: %.1f s\n", ready.Seconds())
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(settleAfter):
	}
	var idle int64
	for _, node := range vmpair.Data {
		memory, err := pair.Memory(ctx, node)
		if err != nil {
			return err
		}
		fmt.Printf("idle memory of node %s: %v\n", node, memory)
		idle = max(idle, memory.Platform())
	}
	err = build.Measured{At: time.Now().UTC(), Image: sum, IdleBytes: idle, Ready: ready.Seconds(),
		Profile: fmt.Sprintf("%d processors, %s", runtime.NumCPU(), runtime.GOARCH)}.Save(filepath.Dir(image))
	if err != nil {
		return err
	}
	return errors.Join(
		must("image built again after a changed line", second.Seconds(), build.MaxRebuild.Seconds(), "s"),
		must("power-on to ready", ready.Seconds(), build.MaxReady.Seconds(), "s"),
		must("idle memory", float64(idle)/1e6, build.MaxIdle/1e6, "MB"),
		must("kernel image", float64(uki)/1e6, build.MaxUKI/1e6, "MB"))
}

// must prints a figure beside its bound.
func must(what string, got, bound float64, unit string) error {
	verdict := "reached"
	if got > bound || got == 0 {
		verdict = "MISSED"
	}
	fmt.Printf("%s: %.1f %s, must be at most %.0f: %s\n", what, got, unit, bound, verdict)
	if verdict != "reached" {
		return fmt.Errorf("%s: a must was missed", what)
	}
	return nil
}
