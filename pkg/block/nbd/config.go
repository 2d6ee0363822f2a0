package nbd

import (
	"errors"
	"fmt"
	"net"
	"time"

	"beffroi.dev/pkg/disk"
)

// Config bounds a Server. The zero value of a field means its default.
type Config struct {
	MaxConnections   int           // at one time; 256
	MaxInFlight      int           // requests of one connection; 512
	MaxInFlightBytes int64         // payload of one connection; 64 MiB
	Handshake        time.Duration // from accept to transmission; 30 s
	SettleWait       time.Duration // for requests of ended connections; 20 s, which is more than the 15 s a volume holds one
	DrainWait        time.Duration // for replies in flight at Drain and Close; 5 s
}

func (c Config) withDefaults() Config {
	c.MaxConnections = orDefault(c.MaxConnections, 256)
	c.MaxInFlight = orDefault(c.MaxInFlight, 512)
	c.MaxInFlightBytes = orDefault(c.MaxInFlightBytes, 64<<20)
	c.Handshake = orDefault(c.Handshake, 30*time.Second)
	c.SettleWait = orDefault(c.SettleWait, 20*time.Second)
	c.DrainWait = orDefault(c.DrainWait, 5*time.Second)
	return c
}

func orDefault[T int | int64 | time.Duration](v, def T) T {
	if v == 0 {
		return def
	}
	return v
}

// Validate reports every fault of the configuration.
func (c Config) Validate() error {
	var errs []error
	bad := func(name string, min any) {
		errs = append(errs, fmt.Errorf("%s: use 0 for the default, or at least %v", name, min))
	}
	if c.MaxConnections < 0 {
		bad("MaxConnections", 1)
	}
	if c.MaxInFlight < 0 {
		bad("MaxInFlight", 1)
	}
	if c.MaxInFlightBytes < 0 {
		bad("MaxInFlightBytes", 1)
	}
	if c.Handshake < 0 {
		bad("Handshake", "1ns")
	}
	if c.SettleWait < 0 {
		bad("SettleWait", "1ns")
	}
	if c.DrainWait < 0 {
		bad("DrainWait", "1ns")
	}
	return errors.Join(errs...)
}

// Export is a disk that the server offers.
type Export struct {
	Name           string
	Description    string
	Queue          disk.Queue
	ReadOnly       bool
	PreferredBlock uint32 // bytes, a power of two of at least 512; 0 means 4096
}

// Exports finds what the server offers. Its methods are called on the goroutine
// of a connection and may block for a bounded time.
type Exports interface {
	// Open finds an export. An error that wraps disk.ErrClosed closes the
	// connection, so that the client tries again; any other is told to the client
	// as "unknown export".
	Open(name string) (Export, error)
	// List names the exports that a client may be shown.
	List() []string
}

// Doorkeeper is an Exports that asks who the client is before it opens anything.
type Doorkeeper interface {
	Exports
	// For gives what the client at the other end of nc may open.
	For(nc net.Conn) Exports
}
