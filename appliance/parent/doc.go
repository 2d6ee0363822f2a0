// Package parent is init in process mode (beffroi init): it starts the services
// of one state folder, keeps them running, and executes the node's fences.
//
// On a node these are node, block, vm, citizen and console, each this same
// program with another first argument; on a witness the witness alone. They are
// stopped in reverse order. QEMU belongs to none of them and lives on.
//
// The sockets of citizens and of the console are opened here and outlive the services
// (package socket); so nobody is refused while one is started again. What the services
// do is kept in run/services.json.
//
// On an appliance Rights gives each service a user and bounds of its own, and this
// package runs as part of boot.
//
// The fence comes first: it watches before any service is started, and goes on
// until all of them have stopped.
//
// One parent works in a folder at a time: run/init.lock says so.
package parent
