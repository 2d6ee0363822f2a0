package main

import (
	"errors"
	"os"

	"beffroi.dev/appliance/boot"
	"beffroi.dev/appliance/control"
	"beffroi.dev/appliance/town"
	"beffroi.dev/pkg/host/netcfg/serviceaddr"
)

func runCitizen(e *environment) error {
	addr, err := serviceAddress(e)
	if err != nil {
		return err
	}
	return town.Run(e.ctx, e.dir, e.node, control.NewClient(e.dir.Socket("node")), addr, e.ready, e.log)
}

// serviceAddress is that of an appliance's network; nil where the node is a
// process of somebody's machine.
func serviceAddress(e *environment) (town.Address, error) {
	cfg, err := boot.LoadNetwork(e.dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return serviceaddr.New(serviceaddr.Config{Lan: cfg.LanLink(), Service: cfg.Service}, e.log)
}
