// Package parent is init in process mode (beffroi init): it starts the services
// of one state folder, keeps them running, and executes the node's fences.
//
// On a node these are node, block, vm, citizen and console, each this same
// program with another first argument; on a witness the witness alone. They are
// stopped in reverse order. QEMU belongs to none of them and lives on.
//
// The fence comes first: it watches before any service is started, and goes on
// until all of them have stopped.
//
// One parent works in a folder at a time: run/init.lock says so.
package parent
