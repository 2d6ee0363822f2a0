package build

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
)

// builtAt is the time that the image names as its own. It never comes from this
// machine's clock: the same source has to give the same image tomorrow.
func (c Config) builtAt(ctx context.Context) (int64, error) {
	if c.Built != 0 {
		return c.Built, nil
	}
	text := os.Getenv("SOURCE_DATE_EPOCH")
	if text == "" {
		cmd := exec.CommandContext(ctx, "git", "log", "-1", "--format=%ct")
		cmd.Dir = c.Source
		out, err := cmd.Output()
		if err != nil {
			return 0, errors.New("the image's time is unknown: set SOURCE_DATE_EPOCH, or build in a git repository")
		}
		text = string(out)
	}
	at, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	if err != nil || at <= 0 {
		return 0, fmt.Errorf("SOURCE_DATE_EPOCH %q is no time", text)
	}
	return at, nil
}
