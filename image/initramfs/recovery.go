package initramfs

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// RecoveryCommands are the commands of the recovery shell, from u-root.
var RecoveryCommands = strings.Fields(`basename blkid cat chmod cmp cp date dd df dirname dmesg du echo find free gosh
	grep gzip head hexdump hostname id insmod ip kill ln ls lsmod md5sum mkdir mknod more mount mv netstat pci pidof
	ping ps pwd readlink rm rmmod shasum shutdown sleep sort strings stty sync tail tar tee timeout touch tr tty
	umount uname uniq uptime wc wget which xargs`)

// uroot is the module that the commands are taken from.
const uroot = "github.com/u-root/u-root"

// BuildRecovery makes one program of all recovery commands. Their versions are
// those of the module in dir (image/initramfs/recovery), apart from ours, so that
// the shell's dependencies are none of the product's. Work is an empty folder.
func BuildRecovery(ctx context.Context, dir, work string) ([]byte, error) {
	tool := filepath.Join(work, "makebb")
	if _, err := goTool(ctx, dir, "build", "-trimpath", "-o", tool, "github.com/u-root/gobusybox/src/cmd/makebb"); err != nil {
		return nil, err
	}
	// A machine that never built an image does not have the module yet: list alone
	// would name no folder.
	if _, err := goTool(ctx, dir, "mod", "download", uroot); err != nil {
		return nil, err
	}
	source, err := goTool(ctx, dir, "list", "-m", "-f", "{{.Dir}}", uroot)
	if err != nil {
		return nil, err
	}
	if source = strings.TrimSpace(source); source == "" {
		return nil, fmt.Errorf("the module %s has no folder", uroot)
	}
	// The tool was built without a trace of where Go lies, and asks for it.
	root, err := goTool(ctx, dir, "env", "GOROOT")
	if err != nil {
		return nil, err
	}
	out := filepath.Join(work, "bb")
	// The shell's small form reads lines as any shell does; its other form draws
	// over the whole screen, which a serial line and a bad night do not forgive.
	args := []string{"-o", out, "-go-build-tags", "goshsmall"}
	for _, c := range RecoveryCommands {
		args = append(args, "./cmds/core/"+c)
	}
	cmd := exec.CommandContext(ctx, tool, args...)
	cmd.Dir = source
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64", "GOAMD64=v1", "GOFLAGS=", "GOWORK=off", "TMPDIR="+work,
		"GOROOT="+strings.TrimSpace(root))
	if text, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("recovery commands: %w: %s", err, text)
	}
	return os.ReadFile(out)
}

func goTool(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off")
	var text strings.Builder
	cmd.Stderr = &text
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go %s: %w: %s", args[0], err, text.String())
	}
	return string(out), nil
}
