package qmp

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	library "github.com/digitalocean/go-qemu/qmp"

	"beffroi.dev/pkg/task"
)

const (
	// maxLine bounds one message of QEMU, bytes: its longest answers
	// (query-qmp-schema) have some 300 KiB.
	maxLine = 4 << 20
	// maxEvents bounds the events that wait for a listener.
	maxEvents = 64
)

// Config bounds a Monitor. The zero value means the defaults.
type Config struct {
	Timeout time.Duration // of each command whose context has no nearer end; 10 s
}

// Validate reports what is wrong.
func (c Config) Validate() error {
	if c.Timeout < 0 {
		return errors.New("qmp: timeout must not be negative")
	}
	return nil
}

var (
	// ErrClosed is returned by commands after the connection ended.
	ErrClosed = errors.New("monitor closed")
	// ErrCommand is wrapped by the refusals of QEMU.
	ErrCommand = errors.New("command refused")
)

// Event is something that happened to a guest.
type Event = library.Event

var _ library.Monitor = (*Monitor)(nil)

// command is what QEMU is sent.
type command struct {
	library.Command
	ID uint64 `json:"id"`
}

// Monitor is a connection to a QEMU's monitor.
type Monitor struct {
	cfg    Config
	log    *slog.Logger
	conn   *net.UnixConn
	tasks  *task.Group
	events chan Event
	done   chan struct{} // closed when the connection has ended

	write   sync.Mutex // one command at a time on the wire
	mu      sync.Mutex // guards next, waiting, ended
	next    uint64
	waiting map[uint64]chan reply
	ended   bool

	version library.Version
}

type reply struct {
	data json.RawMessage
	err  error
}

// message is anything that QEMU sends.
type message struct {
	QMP *struct {
		Version library.Version `json:"version"`
	} `json:"QMP"`
	ID     *uint64         `json:"id"`
	Return json.RawMessage `json:"return"`
	Error  *struct {
		Class string `json:"class"`
		Desc  string `json:"desc"`
	} `json:"error"`
	Event string `json:"event"`
}

// Open connects to a monitor socket and readies it for commands. It waits for
// QEMU's greeting until ctx ends or the timeout passes.
func Open(ctx context.Context, socket string, cfg Config, log *slog.Logger) (*Monitor, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 10 * time.Second
	}
	ctx, cancel := context.WithTimeout(ctx, cfg.Timeout)
	defer cancel()
	var d net.Dialer
	nc, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, fmt.Errorf("qmp: connect: %w", err)
	}
	m := &Monitor{
		cfg: cfg, log: log.With("room", "qmp"), conn: nc.(*net.UnixConn), tasks: task.New(context.Background()),
		events: make(chan Event, maxEvents), done: make(chan struct{}), waiting: map[uint64]chan reply{},
	}
	greeted := make(chan struct{})
	m.tasks.Go("qmp reader", func(context.Context) error {
		m.read(greeted)
		return nil
	})
	select {
	case <-greeted:
		_, err = m.Command(ctx, "qmp_capabilities", nil)
	case <-m.done:
		err = ErrClosed
	case <-ctx.Done():
		err = ctx.Err() // another client holds the monitor, most likely
	}
	if err != nil {
		_ = m.Close()
		return nil, fmt.Errorf("qmp: greeting of %s: %w", socket, err)
	}
	return m, nil
}

// read takes messages until the connection ends.
func (m *Monitor) read(greeted chan struct{}) {
	s := bufio.NewScanner(m.conn)
	s.Buffer(make([]byte, 64<<10), maxLine)
	for s.Scan() {
		line := bytes.Clone(s.Bytes()) // replies outlive the scanner's buffer
		var msg message
		if err := json.Unmarshal(line, &msg); err != nil {
			m.log.Warn("message dropped", "cause", err)
			continue
		}
		switch {
		case msg.Event != "":
			m.post(line)
		case msg.QMP != nil && greeted != nil:
			m.version = msg.QMP.Version
			close(greeted)
			greeted = nil
		case msg.ID != nil:
			m.deliver(msg)
		}
	}
	m.mu.Lock()
	m.ended = true
	m.mu.Unlock()
	_ = m.conn.Close()
	close(m.events)
	close(m.done)
}

// post queues an event; the oldest gives way.
func (m *Monitor) post(line []byte) {
	var e Event
	if err := json.Unmarshal(line, &e); err != nil {
		m.log.Warn("event dropped", "cause", err)
		return
	}
	for {
		select {
		case m.events <- e:
			return
		default:
		}
		select {
		case old := <-m.events:
			m.log.Warn("event dropped", "event", old.Event, "cause", "nobody listens")
		default:
		}
	}
}

func (m *Monitor) deliver(msg message) {
	m.mu.Lock()
	ch := m.waiting[*msg.ID]
	delete(m.waiting, *msg.ID)
	m.mu.Unlock()
	if ch == nil {
		return // its command has given up
	}
	r := reply{data: msg.Return}
	if msg.Error != nil {
		r.err = fmt.Errorf("%w: %s (%s)", ErrCommand, msg.Error.Desc, msg.Error.Class)
	}
	ch <- r // has room for one
}

// Command runs any command and returns what QEMU returned.
func (m *Monitor) Command(ctx context.Context, name string, args any) (json.RawMessage, error) {
	ctx, cancel := context.WithTimeout(ctx, m.cfg.Timeout)
	defer cancel()
	ch := make(chan reply, 1)
	m.mu.Lock()
	if m.ended {
		m.mu.Unlock()
		return nil, fmt.Errorf("qmp %s: %w", name, ErrClosed)
	}
	m.next++
	id := m.next
	m.waiting[id] = ch
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		delete(m.waiting, id)
		m.mu.Unlock()
	}()
	b, err := json.Marshal(command{library.Command{Execute: name, Args: args}, id})
	if err != nil {
		return nil, fmt.Errorf("qmp %s: %w", name, err)
	}
	if err := m.send(ctx, append(b, '\n')); err != nil {
		return nil, fmt.Errorf("qmp %s: %w", name, err)
	}
	select {
	case r := <-ch:
		if r.err != nil {
			return nil, fmt.Errorf("qmp %s: %w", name, r.err)
		}
		return r.data, nil
	case <-m.done:
		return nil, fmt.Errorf("qmp %s: %w", name, ErrClosed)
	case <-ctx.Done():
		return nil, fmt.Errorf("qmp %s: %w", name, ctx.Err())
	}
}

func (m *Monitor) send(ctx context.Context, b []byte) error {
	m.write.Lock()
	defer m.write.Unlock()
	if end, ok := ctx.Deadline(); ok {
		_ = m.conn.SetWriteDeadline(end)
	}
	_, err := m.conn.Write(b)
	if err != nil {
		_ = m.conn.Close() // half a command may be on the wire
	}
	return err
}

// Done is closed when the connection has ended: QEMU is gone, or Close was
// called.
func (m *Monitor) Done() <-chan struct{} { return m.done }

// Version is what QEMU said it is.
func (m *Monitor) Version() string { return m.version.String() }

// Close ends the connection. The guest does not notice.
func (m *Monitor) Close() error {
	_ = m.conn.Close()
	return m.tasks.Stop(m.cfg.Timeout)
}
