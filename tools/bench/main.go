// Command bench measures the store beside what exists, in one interleaved run.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime/pprof"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(os.Args) > 1 && os.Args[1] == "daemon" {
		if p := os.Getenv("BENCH_PROFILE"); p != "" {
			f, _ := os.Create(fmt.Sprintf("%s.%d", p, os.Getpid()))
			_ = pprof.StartCPUProfile(f)
			defer pprof.StopCPUProfile()
		}
		if err := daemon(ctx, os.Args[2:]); err != nil && ctx.Err() == nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		return
	}
}
