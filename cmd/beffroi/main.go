// Command beffroi is everything that runs on a node or as the witness; its first
// argument says which part of it a process is.
//
// Synopsis:
//
//	beffroi COMMAND --dir DIR
//
// Commands:
//
//	init      start the services of DIR, keep them running, execute the fences;
//	          with --system alone: boot the appliance whose image this is
//	node      the vote, and what this node should do
//	block     the mirrored store and its NBD sockets
//	vm        the virtual machines
//	citizen   the service for citizens, and the service address
//	console   the web console, and the operator's API
//	witness   the third vote; with --join [--listen HOST:PORT] it first shows a code
//	          and waits until a node founds a pair with it
//	rescue    the console on the serial line, or on this terminal: --dir DIR
//	          [--tty PATH]; it runs also where nothing else does
//
// Called as modprobe it loads modules of the running kernel from the image: the
// kernel itself calls it so when it wants one.
//
// DIR is a state folder with config.json and key. Each command also runs by hand,
// or under systemd, whose notify protocol it speaks. It stops in good order on
// SIGTERM and SIGINT, and logs to its standard error.
//
// Exit codes: 0 it was asked to stop; 1 it failed, and the log says why; 2 the
// command line or the configuration is wrong, and trying again does not help.
package main

import (
	"os"
	"path/filepath"
)

// commands are the parts of this program.
var commands = map[string]func(*environment) error{
	"block":   runBlock,
	"citizen": runCitizen,
	"console": runConsole,
	"init":    runInit,
	"node":    runNode,
	"vm":      runVM,
	"witness": runWitness,
}

func main() {
	if filepath.Base(os.Args[0]) == "modprobe" {
		os.Exit(runModprobe(os.Args[1:], os.Stderr))
	}
	if len(os.Args) > 1 && os.Args[1] == "rescue" {
		os.Exit(runRescue(os.Args[2:], os.Stderr))
	}
	if joins(os.Args[1:]) {
		os.Exit(runJoin(os.Args[1:], os.Stdout, os.Stderr))
	}
	if len(os.Args) == 3 && os.Args[1] == "init" && os.Args[2] == "--system" {
		os.Exit(runSystem())
	}
	os.Exit(run(commands, os.Args[1:], os.Stderr))
}
