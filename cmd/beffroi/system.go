package main

import (
	"context"
	"fmt"
	"os"

	"beffroi.dev/appliance/boot"
)

// runSystem is init on an appliance, which process 1 starts.
func runSystem() int {
	self, err := os.Executable()
	if err == nil {
		has := func(name string) bool { return commands[name] != nil || name == "rescue" }
		err = boot.Run(context.Background(), boot.Config{Binary: self, Has: has}, os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stdout, "beffroi: init:", err)
		return exitFailed
	}
	return exitStopped
}
