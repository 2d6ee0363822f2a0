package witness

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"beffroi.dev/pkg/clock"
	"beffroi.dev/pkg/quorum/cluster"
	"beffroi.dev/pkg/quorum/lease"
	"beffroi.dev/pkg/quorum/raftnode"
	"beffroi.dev/pkg/task"
	"beffroi.dev/pkg/transport"
)

// stopBound is how long the status server may take to finish its answers.
const stopBound = 2 * time.Second

// Config configures a witness.
type Config struct {
	Folder    string // the state folder; made if it is missing
	Transport transport.Config
	Timing    lease.Timing
	Genesis   *cluster.State // as on the data nodes
	// Status is where the status is served: "unix:" and a path, or host:port.
	// Empty: nowhere.
	Status string
}

// Validate reports all faults.
func (c *Config) Validate() error {
	var faults []error
	if c.Folder == "" {
		faults = append(faults, errors.New("no state folder"))
	}
	if c.Transport.Data {
		faults = append(faults, errors.New("transport: a witness keeps no data sessions"))
	}
	if c.Genesis == nil {
		faults = append(faults, errors.New("no genesis"))
	} else if c.Genesis.Nodes[c.Transport.Self].Kind != cluster.KindWitness {
		faults = append(faults, fmt.Errorf("genesis: %v is not a witness there", c.Transport.Self))
	} else if c.Genesis.Pair != c.Transport.Pair {
		faults = append(faults, fmt.Errorf("genesis: of pair %v, the transport is of %v", c.Genesis.Pair, c.Transport.Pair))
	}
	return errors.Join(append(faults, c.Transport.Validate(), c.Timing.Validate())...)
}

// Status is what the witness tells about itself.
type Status struct {
	Vote    raftnode.Status        `json:"vote"`
	Paths   []transport.PathStatus `json:"paths"`
	Refused map[string]uint64      `json:"refused"` // connections refused, by reason
}

// Witness is a running third vote.
type Witness struct {
	mesh   *transport.Mesh
	node   *raftnode.Node
	server *http.Server
	tasks  *task.Group
}

// Start opens the log, joins the others and begins to vote.
func Start(ctx context.Context, cfg Config, clk clock.Clock, log *slog.Logger) (*Witness, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("witness configuration: %w", err)
	}
	if err := os.MkdirAll(cfg.Folder, 0o700); err != nil {
		return nil, fmt.Errorf("make state folder: %w", err)
	}
	mesh, err := transport.New(cfg.Transport, clk, log)
	if err != nil {
		return nil, err
	}
	votes, err := raftnode.OpenLog(cfg.Folder, cfg.Transport.Self, cfg.Transport.Pair)
	if err != nil {
		return nil, err
	}
	mux := &transport.Mux{}
	node, err := raftnode.New(raftnode.Config{Self: cfg.Transport.Self, Timing: cfg.Timing}, votes, cfg.Genesis, mux.Sender(transport.ChannelVote, mesh), clk, log)
	if err != nil {
		return nil, err
	}
	mux.Route(transport.ChannelVote, node.Receive)
	w := &Witness{mesh: mesh, node: node, tasks: task.New(ctx)}
	if err := w.serve(cfg.Status); err != nil {
		return nil, errors.Join(err, node.Close())
	}
	node.Start(ctx)
	mesh.Start(ctx, mux)
	return w, nil
}

// serve answers status requests, if an address is given.
func (w *Witness) serve(addr string) error {
	if addr == "" {
		return nil
	}
	network := "tcp"
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		network, addr = "unix", path
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) { // of a former life
			return fmt.Errorf("status socket: %w", err)
		}
	}
	l, err := net.Listen(network, addr)
	if err != nil {
		return fmt.Errorf("status socket: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(rw).Encode(w.Status()) // a client that went away
	})
	w.server = &http.Server{Handler: mux, ReadHeaderTimeout: stopBound, WriteTimeout: stopBound, IdleTimeout: time.Minute, MaxHeaderBytes: 8 << 10}
	w.tasks.Go("status", func(context.Context) error {
		if err := w.server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	return nil
}

// Status describes the witness now.
func (w *Witness) Status() Status {
	st := Status{Vote: w.node.Status(), Paths: w.mesh.Paths(), Refused: map[string]uint64{}}
	for why, n := range w.mesh.Refused() {
		st.Refused[why.String()] = n
	}
	return st
}

// Watch waits for a voted state with a higher index than after.
func (w *Witness) Watch(ctx context.Context, after uint64) (*cluster.State, error) {
	return w.node.Watch(ctx, after)
}

// Run serves until ctx ends or the vote has to stop, and closes everything.
func (w *Witness) Run(ctx context.Context) error {
	select {
	case <-ctx.Done():
	case <-w.node.Done():
	case <-w.tasks.Context().Done():
	}
	return w.Close()
}

// Close stops voting; the error is why it had to stop, if it had to.
func (w *Witness) Close() error {
	var errs []error
	if w.server != nil {
		bound, cancel := context.WithTimeout(context.Background(), stopBound)
		defer cancel()
		errs = append(errs, w.server.Shutdown(bound))
	}
	errs = append(errs, w.mesh.Close(), w.node.Close(), w.tasks.Stop(stopBound))
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close witness: %w", err)
	}
	return nil
}
