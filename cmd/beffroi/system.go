package main

import (
	"context"
	"fmt"
	"os"

	"beffroi.dev/appliance/boot"
)

// program is where the image has this program. Asking the kernel needs /proc, which
// is not there yet.
const program = "/beffroi/bin/beffroi"

// runSystem is init on an appliance, which process 1 starts.
func runSystem() int {
	has := func(name string) bool { return commands[name] != nil }
	if err := boot.Run(context.Background(), boot.Config{Binary: program, Has: has}, os.Stdout); err != nil {
		fmt.Println("beffroi: init:", err)
		return exitFailed
	}
	return exitStopped
}
