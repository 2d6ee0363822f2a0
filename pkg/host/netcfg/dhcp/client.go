package dhcp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"

	"beffroi.dev/pkg/host/netcfg"
)

// State of a client.
type State string

// The states.
const (
	Selecting State = "selecting"
	Bound     State = "bound"
	Renewing  State = "renewing"
	Rebinding State = "rebinding"
)

// Config of a Client.
type Config struct {
	Link     string
	HostName string // told to the server, when set
	// Held, if not nil, is the lease that an earlier life of this client had when it
	// was killed, on a machine that lived on: it is kept as if nothing had happened,
	// and dropped only when it is over or refused.
	Held *netcfg.Lease
	// Listen opens a raw UDP socket on port 68 of the link and tells its MAC
	// address; Raw when nil.
	Listen func() (net.PacketConn, net.HardwareAddr, error)
	// Changed is told of each new lease, and of its loss by nil; also by nil when
	// the first try finds no server. It is never called twice at once.
	Changed  func(context.Context, *netcfg.Lease)
	Try      time.Duration // for one answer; 3 s when 0
	RetryMin time.Duration // first pause after a failure; 1 s when 0
	RetryMax time.Duration // longest pause; 64 s when 0
}

// Validate reports everything that is wrong with the configuration.
func (c Config) Validate() error {
	var faults []error
	if c.Link == "" {
		faults = append(faults, errors.New("no link"))
	}
	if c.Changed == nil {
		faults = append(faults, errors.New("nobody to tell"))
	}
	if c.Try < 0 || c.RetryMin < 0 || c.RetryMax < c.RetryMin {
		faults = append(faults, fmt.Errorf("times: try %v, pauses %v to %v", c.Try, c.RetryMin, c.RetryMax))
	}
	return errors.Join(faults...)
}

// Status is what a client does and has.
type Status struct {
	State State         `json:"state"`
	Lease *netcfg.Lease `json:"lease,omitempty"`
	Fault string        `json:"fault,omitempty"` // of the last exchange
	Tries int           `json:"tries"`           // failed in a row
}

// Client keeps a lease while Run runs.
type Client struct {
	cfg Config
	log *slog.Logger

	mu     sync.Mutex // guards status
	status Status
}

// New makes a client that has asked nothing yet.
func New(cfg Config, log *slog.Logger) (*Client, error) {
	if cfg.Try == 0 {
		cfg.Try = 3 * time.Second
	}
	if cfg.RetryMin == 0 {
		cfg.RetryMin = time.Second
	}
	if cfg.RetryMax == 0 {
		cfg.RetryMax = max(64*time.Second, cfg.RetryMin)
	}
	if cfg.Listen == nil {
		cfg.Listen = Raw(cfg.Link)
	}
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("dhcp: %w", err)
	}
	return &Client{cfg: cfg, log: log, status: Status{State: Selecting}}, nil
}

// Raw opens sockets on a link of the calling thread's network namespace.
func Raw(link string) func() (net.PacketConn, net.HardwareAddr, error) {
	return func() (net.PacketConn, net.HardwareAddr, error) {
		ifi, err := net.InterfaceByName(link)
		if err != nil {
			return nil, nil, fmt.Errorf("link %s: %w", link, err)
		}
		conn, err := nclient4.NewRawUDPConn(link, nclient4.ClientPort)
		if err != nil {
			return nil, nil, fmt.Errorf("raw socket on %s: %w", link, err)
		}
		return conn, ifi.HardwareAddr, nil
	}
}

// Status is what the client does now.
func (c *Client) Status() Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.status
}

func (c *Client) set(change func(*Status)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change(&c.status)
}

// Run keeps the lease until ctx ends. The lease is not given back: a node that
// restarts wants the same address.
func (c *Client) Run(ctx context.Context) error {
	told := false
	if h := c.cfg.Held; h != nil && phase(*h, time.Now()) != Selecting {
		told = true
		c.keep(ctx, *h)
	}
	for ctx.Err() == nil {
		lease, err := c.exchange(ctx, nil, Selecting)
		if err != nil {
			if !told {
				c.cfg.Changed(ctx, nil)
				told = true
			}
			sleep(ctx, c.failed(err))
			continue
		}
		told = true
		c.keep(ctx, lease)
	}
	return ctx.Err()
}

// keep holds a lease until it is lost or ctx ends.
func (c *Client) keep(ctx context.Context, lease netcfg.Lease) {
	c.bound(ctx, lease)
	wait := time.Until(lease.Renew)
	for {
		sleep(ctx, max(wait, c.cfg.RetryMin))
		if ctx.Err() != nil {
			return
		}
		state := phase(lease, time.Now())
		if state == Selecting {
			c.lost(ctx, errors.New("the lease is over"))
			return
		}
		c.set(func(s *Status) { s.State = state })
		renewed, err := c.exchange(ctx, &lease, state)
		switch {
		case err == nil:
			lease = renewed
			c.bound(ctx, lease)
			wait = time.Until(lease.Renew)
		case errors.Is(err, errRefused):
			c.lost(ctx, err)
			return
		default:
			c.failed(err)
			wait = pause(lease, time.Now())
		}
	}
}

func (c *Client) bound(ctx context.Context, l netcfg.Lease) {
	c.set(func(s *Status) { *s = Status{State: Bound, Lease: &l} })
	c.log.Info("dhcp lease", "address", l.Address, "gateway", l.Gateway, "server", l.Server, "expires", l.Expires)
	c.cfg.Changed(ctx, &l)
}

func (c *Client) lost(ctx context.Context, why error) {
	c.set(func(s *Status) { *s = Status{State: Selecting, Fault: why.Error()} })
	c.log.Warn("dhcp lease lost", "err", why)
	c.cfg.Changed(ctx, nil)
}

// failed notes a failure and says how long to wait.
func (c *Client) failed(err error) time.Duration {
	tries := 0
	c.set(func(s *Status) { s.Fault = err.Error(); s.Tries++; tries = s.Tries })
	c.log.Debug("dhcp", "err", err, "tries", tries)
	d := c.cfg.RetryMin
	for i := 1; i < tries && d < c.cfg.RetryMax; i++ {
		d = min(2*d, c.cfg.RetryMax)
	}
	return d/2 + rand.N(d/2+1)
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

var errRefused = errors.New("the server refuses the address")

// exchange asks for a lease, or for more time for the old one.
func (c *Client) exchange(ctx context.Context, old *netcfg.Lease, state State) (netcfg.Lease, error) {
	conn, mac, err := c.cfg.Listen()
	if err != nil {
		return netcfg.Lease{}, err
	}
	client, err := nclient4.NewWithConn(conn, mac, nclient4.WithTimeout(c.cfg.Try), nclient4.WithRetry(1))
	if err != nil {
		return netcfg.Lease{}, errors.Join(err, conn.Close())
	}
	defer client.Close()
	asked := time.Now() // a lease counts from the question, never from the answer
	ack, err := c.ask(ctx, client, old, state)
	if err != nil {
		return netcfg.Lease{}, fmt.Errorf("%s on %s: %w", state, c.cfg.Link, err)
	}
	lease, err := leaseOf(ack, asked)
	if err != nil {
		return netcfg.Lease{}, fmt.Errorf("%s on %s: %w", state, c.cfg.Link, err)
	}
	return lease, nil
}

func (c *Client) ask(ctx context.Context, client *nclient4.Client, old *netcfg.Lease, state State) (*dhcpv4.DHCPv4, error) {
	var options []dhcpv4.Modifier
	if c.cfg.HostName != "" {
		options = append(options, dhcpv4.WithOption(dhcpv4.OptHostName(c.cfg.HostName)))
	}
	if old == nil {
		l, err := client.Request(ctx, options...)
		if err != nil {
			return nil, err
		}
		return l.ACK, nil
	}
	// A request for more time names the address as the client's own and no server
	// (RFC 2131, section 4.3.2).
	request, err := dhcpv4.New(append(options, dhcpv4.WithHwAddr(client.InterfaceAddr()), dhcpv4.WithMessageType(dhcpv4.MessageTypeRequest),
		dhcpv4.WithClientIP(old.Address.Addr().AsSlice()), dhcpv4.WithRequestedOptions(dhcpv4.OptionSubnetMask, dhcpv4.OptionRouter, dhcpv4.OptionDomainName, dhcpv4.OptionDomainNameServer))...)
	if err != nil {
		return nil, err
	}
	match := nclient4.IsMessageType(dhcpv4.MessageTypeAck, dhcpv4.MessageTypeNak)
	if state == Renewing { // rebinding: any server may answer
		match = nclient4.IsAll(match, nclient4.IsCorrectServer(old.Server.AsSlice()))
	}
	answer, err := client.SendAndRead(ctx, client.RemoteAddr(), request, match)
	if err != nil {
		return nil, err
	}
	if answer.MessageType() == dhcpv4.MessageTypeNak {
		return nil, errRefused
	}
	return answer, nil
}
