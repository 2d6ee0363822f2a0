package qmp

import (
	"context"
	"encoding/json"
	"fmt"

	library "github.com/digitalocean/go-qemu/qmp"
	"golang.org/x/sys/unix"
)

// Status is what a QEMU says of its guest's run.
type Status string

// The statuses that a supervisor acts on; QEMU knows more.
const (
	Running   Status = "running"
	Paused    Status = "paused"
	Prelaunch Status = "prelaunch" // started paused
	IOError   Status = "io-error"  // stopped by rerror=stop or werror=stop
	ShutDown  Status = "shutdown"
)

// Status asks how the guest runs.
func (m *Monitor) Status(ctx context.Context) (Status, error) {
	data, err := m.Command(ctx, "query-status", nil)
	if err != nil {
		return "", err
	}
	var s struct {
		Status Status `json:"status"`
	}
	if err := json.Unmarshal(data, &s); err != nil {
		return "", fmt.Errorf("qmp query-status: %w", err)
	}
	return s.Status, nil
}

// Cont lets the guest run on; a request that an I/O error stopped is tried again.
func (m *Monitor) Cont(ctx context.Context) error { return m.plain(ctx, "cont") }

// Stop stops the guest's processors and its clock.
func (m *Monitor) Stop(ctx context.Context) error { return m.plain(ctx, "stop") }

// PowerDown presses the guest's power button.
func (m *Monitor) PowerDown(ctx context.Context) error { return m.plain(ctx, "system_powerdown") }

// Announce says on every network that the guest's cards are here now: several frames,
// in the following second, so that switches send what is for them here.
func (m *Monitor) Announce(ctx context.Context) error {
	_, err := m.Command(ctx, "announce-self", map[string]int{"initial": 50, "max": 550, "rounds": 5, "step": 100})
	if err != nil {
		return fmt.Errorf("announce the guest's cards: %w", err)
	}
	return nil
}

// Quit ends QEMU, whatever its guest does.
func (m *Monitor) Quit(ctx context.Context) error { return m.plain(ctx, "quit") }

func (m *Monitor) plain(ctx context.Context, name string) error {
	_, err := m.Command(ctx, name, nil)
	return err
}

// Block is one block device of a guest.
type Block struct {
	Device string // of the guest
	Node   string // the name given to QEMU
	Status string // "ok", or the error that stopped it
	Size   int64  // bytes
}

// Blocks lists the block devices.
func (m *Monitor) Blocks(ctx context.Context) ([]Block, error) {
	data, err := m.Command(ctx, "query-block", nil)
	if err != nil {
		return nil, err
	}
	var raw []struct {
		QDev     string `json:"qdev"`
		IOStatus string `json:"io-status"`
		Inserted struct {
			Node  string `json:"node-name"`
			Image struct {
				Size int64 `json:"virtual-size"`
			} `json:"image"`
		} `json:"inserted"`
	}
	if err := json.Unmarshal(data, &raw); err != nil {
		return nil, fmt.Errorf("qmp query-block: %w", err)
	}
	list := make([]Block, 0, len(raw))
	for _, b := range raw {
		list = append(list, Block{b.QDev, b.Inserted.Node, b.IOStatus, b.Inserted.Image.Size})
	}
	return list, nil
}

// PID is the process that serves the monitor, as the kernel knows it.
func (m *Monitor) PID() (int, error) {
	rc, err := m.conn.SyscallConn()
	if err != nil {
		return 0, fmt.Errorf("qmp: peer of the socket: %w", err)
	}
	var cred *unix.Ucred
	var credErr error
	if err := rc.Control(func(fd uintptr) { cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil {
		return 0, fmt.Errorf("qmp: peer of the socket: %w", err)
	}
	if credErr != nil {
		return 0, fmt.Errorf("qmp: peer of the socket: %w", credErr)
	}
	return int(cred.Pid), nil
}

// Connect does nothing: Open has connected. With Disconnect, Run and Events it
// makes a Monitor one of go-qemu's.
func (m *Monitor) Connect() error { return nil }

// Disconnect is Close.
func (m *Monitor) Disconnect() error { return m.Close() }

// Run runs a command given as JSON and returns the reply as QEMU words it.
func (m *Monitor) Run(wire []byte) ([]byte, error) {
	var c library.Command
	if err := json.Unmarshal(wire, &c); err != nil {
		return nil, fmt.Errorf("qmp: command: %w", err)
	}
	data, err := m.Command(context.Background(), c.Execute, c.Args)
	if err != nil {
		return nil, err
	}
	return json.Marshal(map[string]json.RawMessage{"return": data})
}

// Events is the stream of events, closed at the end of the connection. There is
// one stream: several listeners share it.
func (m *Monitor) Events(context.Context) (<-chan Event, error) { return m.events, nil }
