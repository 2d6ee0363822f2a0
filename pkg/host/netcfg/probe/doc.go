// Package probe finds out which cable is plugged where.
//
// Every second each card says who it is (pair, node, role) in a frame that nothing
// else on the network heeds (PROTOCOL.md), and hears who is at the other end. From
// that come a fibre in the wrong port, crossed fibres, a fibre in the town's switch,
// two nodes with one identity. To the twin on a fibre it sends a frame as long as
// the cable should carry and waits for it to come back: that, and not the setting
// at one end, tells whether jumbo frames pass.
//
// The core is pure: it is told of frames and of the time. Watcher owns the sockets.
// What is found is for people to read, and for init to follow a fibre that was plugged
// elsewhere (Found). The frames prove nothing of who sent them, so nothing that matters
// may rest on them: a fibre over which a session lives is not moved.
package probe
