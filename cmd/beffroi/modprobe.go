package main

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"beffroi.dev/pkg/host/rootfs"
)

// runModprobe loads modules by name or alias. The kernel calls it with -q -- NAME.
func runModprobe(args []string, stderr io.Writer) int {
	var names []string
	quiet := false
	for _, a := range args {
		switch {
		case a == "-q":
			quiet = true
		case a == "--":
		case strings.HasPrefix(a, "-"):
			fmt.Fprintf(stderr, "modprobe: %.40q is not known; use: modprobe [-q] [--] NAME...\n", a)
			return exitUsage
		default:
			names = append(names, a)
		}
	}
	var u unix.Utsname
	err := unix.Uname(&u)
	var m *rootfs.Modules
	if err == nil {
		m, err = rootfs.OpenModules(filepath.Join("/modules", unix.ByteSliceToString(u.Release[:])))
	}
	if err != nil {
		fmt.Fprintln(stderr, "modprobe:", err)
		return exitFailed
	}
	code := exitStopped
	for _, n := range names {
		if err := m.Request(n); err != nil {
			code = exitFailed
			if !quiet {
				fmt.Fprintln(stderr, "modprobe:", err)
			}
		}
	}
	return code
}
