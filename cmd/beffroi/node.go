package main

import "beffroi.dev/appliance/node"

func runNode(e *environment) error { return node.Run(e.ctx, e.dir, e.node, e.sockets, e.ready, e.log) }
