package rescue

import (
	"context"

	"beffroi.dev/appliance/config"
)

// RestartForTest is what the menu does on a real node.
func RestartForTest(ctx context.Context, dir config.Dir, name string) error {
	return (&nodeActions{Dir: dir}).RestartService(ctx, name)
}
