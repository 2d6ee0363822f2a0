package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"beffroi.dev/pkg/citizen/agent"
	"beffroi.dev/pkg/citizen/casefile"
	"beffroi.dev/pkg/citizen/photo"
	"beffroi.dev/pkg/citizen/procedure"
	"beffroi.dev/pkg/citizen/store"
	"beffroi.dev/pkg/citizen/web"
	"beffroi.dev/pkg/clock"
	"beffroi.dev/pkg/disk"
	"beffroi.dev/pkg/task"
)

const (
	sweepEvery = 10 * time.Minute
	stopBound  = 10 * time.Second
)

// Role is what this node is for the citizen service.
type Role = casefile.Role

// Config is what the service needs to know.
type Config struct {
	Store store.Config
	Web   web.Config
}

// Validate reports every fault of the configuration.
func (c Config) Validate() error { return errors.Join(c.Store.Validate(), c.Web.Validate()) }

// Service is the citizen service, open on its volume.
type Service struct {
	st     *store.Store
	cases  *casefile.Book
	agents *agent.Register
	pages  http.Handler
	role   func() Role
	log    *slog.Logger
	tasks  *task.Group
}

// Open takes the volume over and prepares the pages. The role may say that this
// node does not serve yet: pages then answer 503 until it does.
func Open(ctx context.Context, dev disk.Device, cfg Config, role func() Role, clk clock.Clock, log *slog.Logger) (_ *Service, err error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("open citizen service: %w", err)
	}
	defs, err := procedure.Shipped()
	if err != nil {
		return nil, fmt.Errorf("open citizen service: %w", err)
	}
	began := clk.Now()
	s := &Service{role: role, log: log.With("room", "citizen/service")}
	if s.st, err = store.Open(ctx, dev, cfg.Store, log); err != nil {
		return nil, fmt.Errorf("open citizen service: %w", err)
	}
	defer func() {
		if err != nil {
			_ = s.st.Close()
		}
	}()
	if s.cases, err = casefile.Open(ctx, s.st, defs, role, clk, log); err != nil {
		return nil, fmt.Errorf("open citizen service: %w", err)
	}
	s.agents = agent.Open(s.st, clk, log)
	if s.pages, err = web.New(cfg.Web, web.Services{Cases: s.cases, Agents: s.agents, Photos: photo.NewLab()}, role, clk, log); err != nil {
		return nil, fmt.Errorf("open citizen service: %w", err)
	}
	s.tasks = task.New(context.WithoutCancel(ctx)) // ctx bounds the opening, Close ends the service
	s.tasks.Go("sweep uploads", s.sweep)
	s.log.Info("citizen service open", "took", clk.Now().Sub(began))
	return s, nil
}

// Handler serves citizens and agents, and GET /healthz for the appliance.
func (s *Service) Handler() http.Handler { return s.pages }

// Agents is where the appliance provisions agents.
func (s *Service) Agents() *agent.Register { return s.agents }

// Failed returns why the volume has failed, or nil. The appliance then closes
// the service and opens it again, on whichever node leads the volume.
func (s *Service) Failed() error { return s.st.Failed() }

// Usage returns the bytes for database and files, and how many are free.
func (s *Service) Usage() (total, free int64) { return s.st.Usage() }

func (s *Service) sweep(ctx context.Context) error {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if !s.role().Serving {
			continue
		}
		n, err := s.cases.Sweep(ctx)
		if err != nil {
			s.log.Warn("uploads not swept", "err", err)
		} else if n > 0 {
			s.log.Info("uploads swept", "count", n)
		}
	}
}

// Close stops the background work, writes the log back into the database and
// lets go of the device, which stays the caller's to close. The caller stops
// serving the handler first.
func (s *Service) Close() error {
	return errors.Join(s.tasks.Stop(stopBound), s.st.Close())
}
