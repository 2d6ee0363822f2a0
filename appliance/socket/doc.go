// Package socket is how a service comes to the sockets that it listens on: init
// hands them over, or, started by hand, it binds them by itself.
//
// A handed socket outlives the service: init keeps it, and whoever connects while
// the service is away waits in it for the next life. A Quiet one is handed bound
// but not listening. It is for an address that only one node may answer on: the
// service begins to listen when it holds the address (Listen) and ends it when it
// does not any more (Silence); a service that just ends lets it listen on, for its
// next life. If that never comes, init silences it when its fence passes.
//
// PeerOf tells a service who did connect; what that one may ask for is the service's
// own rule. This package never decides who may connect: the socket's file does, which
// init makes for the right user, and which is this user's alone when the service makes
// it.
package socket
