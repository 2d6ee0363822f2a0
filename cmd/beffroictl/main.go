// Beffroictl is the operator's command line of a Beffroi pair.
//
//	beffroictl [options] command [arguments]
//
// Without --url it speaks to the node on this machine through its local socket,
// as root or as the user of the node's services. With --url it speaks HTTPS to
// any node's console address, with the administrator's token.
//
//	--dir DIR          state folder of the local node (BEFFROI_DIR, or /var/lib/beffroi)
//	--socket FILE      the local socket, when it is elsewhere
//	--url URL          https://HOST:PORT of a node
//	--token-file FILE  the administrator's token, for --url
//	--ca FILE          trust this authority or certificate (PEM)
//	--pin SHA256       trust the certificate with this fingerprint alone
//	--json             listings and jobs as JSON
//	--lang fr|en       language of messages (LC_ALL, LC_MESSAGES, LANG)
//
// "beffroictl help" lists the commands, "beffroictl help COMMAND" explains one.
//
// Exit codes:
//
//	0  done
//	1  failed
//	2  the command line is wrong
//	3  refused: by the rules of the pair, the role of the caller, or the input
//	4  unreachable: no answer, or the pair cannot decide now; try again later
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/term"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	p := &program{
		in: os.Stdin, out: os.Stdout, err: os.Stderr, env: os.Getenv, now: time.Now, zone: time.Local,
		terminal: func(f *os.File) bool { return term.IsTerminal(int(f.Fd())) },
	}
	code := p.run(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}
