package fence

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"beffroi.dev/appliance/config"
	"beffroi.dev/pkg/clock"
)

const (
	// maxRenewal bounds one renewal: all the VMs of a pair with long paths.
	maxRenewal = 64 << 10
	// maxGuests is the bound of the cluster state.
	maxGuests = 256
	// sendBound is how long a send may wait for a full socket: the next renewal
	// says more.
	sendBound = 20 * time.Millisecond
)

// Guest is a VM that another node may be promoted for.
type Guest struct {
	Name   string `json:"name"`
	Folder string `json:"folder"` // that holds its run.json
}

// Renewal is what the node service tells init.
type Renewal struct {
	Vouched clock.Instant `json:"vouched"` // CLOCK_BOOTTIME
	Ever    bool          `json:"ever"`    // a majority has vouched at all
	Guests  []Guest       `json:"guests"`
	Address bool          `json:"address"` // held, and another node may come to hold it
}

// decode reads and checks one renewal.
func decode(b []byte) (Renewal, error) {
	var r Renewal
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&r); err != nil {
		return r, fmt.Errorf("decode renewal: %w", err)
	}
	if len(r.Guests) > maxGuests {
		return r, fmt.Errorf("renewal with %d guests, at most %d", len(r.Guests), maxGuests)
	}
	for _, g := range r.Guests {
		if !filepath.IsAbs(g.Folder) || filepath.Clean(g.Folder) != g.Folder {
			return r, fmt.Errorf("renewal: guest folder %.200q is no clean absolute path", g.Folder)
		}
	}
	return r, nil
}

// Client sends renewals to init. It is used by one goroutine.
type Client struct {
	socket string
	conn   net.Conn
}

// NewClient makes a client; init need not be there yet.
func NewClient(socket string) *Client { return &Client{socket: socket} }

// Send sends one renewal. An error means that init was not told; by hand, without
// an init, that is so always.
func (c *Client) Send(r Renewal) error {
	b, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("renew the fence: %w", err)
	}
	for fresh := c.conn == nil; ; fresh = true {
		if c.conn == nil {
			if c.conn, err = net.Dial("unixgram", c.socket); err != nil {
				c.conn = nil
				return fmt.Errorf("renew the fence: %w", err)
			}
		}
		_ = c.conn.SetWriteDeadline(time.Now().Add(sendBound))
		if _, err = c.conn.Write(b); err == nil {
			return nil
		}
		_ = c.Close()
		if fresh || errors.Is(err, os.ErrDeadlineExceeded) {
			return fmt.Errorf("renew the fence: %w", err)
		}
		// init was started anew: its socket is another one now
	}
}

// Close ends the client.
func (c *Client) Close() error {
	if c.conn == nil {
		return nil
	}
	err := c.conn.Close()
	c.conn = nil
	return err
}

// kept is the file: instants of another boot mean nothing.
type kept struct {
	Boot string `json:"boot"`
	Renewal
}

func keptPath(d config.Dir) string { return filepath.Join(d.Run(), "fence.json") }

func bootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("identity of this boot: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// Keep writes the last renewal for the next life of init or of the node service.
// It need not survive a power cut, and is not synced.
func Keep(d config.Dir, r Renewal) error {
	boot, err := bootID()
	if err != nil {
		return err
	}
	b, err := json.Marshal(kept{boot, r})
	if err != nil {
		return fmt.Errorf("keep renewal: %w", err)
	}
	tmp := keptPath(d) + ".new"
	if err := os.WriteFile(tmp, b, 0o644); err != nil { // the node service reads it as another user
		return fmt.Errorf("keep renewal: %w", err)
	}
	if err := os.Rename(tmp, keptPath(d)); err != nil {
		return fmt.Errorf("keep renewal: %w", err)
	}
	return nil
}

// Kept returns the last renewal of this boot; ok is false when there is none that
// can be understood: then the fence counts as passed.
func Kept(d config.Dir) (r Renewal, ok bool) {
	boot, err := bootID()
	b, errRead := os.ReadFile(keptPath(d))
	var k kept
	if errors.Join(err, errRead) != nil || json.Unmarshal(b, &k) != nil || k.Boot != boot {
		return Renewal{}, false
	}
	return k.Renewal, true
}
