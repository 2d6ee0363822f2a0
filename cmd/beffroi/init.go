package main

import (
	"fmt"
	"os"

	"beffroi.dev/appliance/parent"
)

// runInit starts this same program once for each service.
func runInit(e *environment) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	return parent.Run(e.ctx, parent.Config{Dir: e.dir, Binary: self, Has: e.has}, e.node, e.ready, e.log)
}
