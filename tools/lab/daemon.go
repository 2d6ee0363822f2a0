package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// ask is one verb on its way to the daemon.
type ask struct {
	Verb string `json:"verb"` // kill, start, pause, resume, blank, cut, heal, shape, plug, lan, links, down
	Node string `json:"node,omitempty"`
	Link string `json:"link,omitempty"`
	Into string `json:"into,omitempty"` // plug: the segment
	Oddity
	Image string        `json:"image,omitempty"` // blank: what is written to the new disk
	From  string        `json:"from,omitempty"`
	Delay time.Duration `json:"delay,omitempty"`
	Loss  float64       `json:"loss,omitempty"`
}

type reply struct {
	Error string      `json:"error,omitempty"`
	Links []linkState `json:"links,omitempty"`
	Lan   []lanCard   `json:"lan,omitempty"`
}

// linkState is one direction of a link that is not as it should be.
type linkState struct {
	Link  string  `json:"link"`
	From  string  `json:"from,omitempty"` // empty: toward the node of this lan
	Cut   bool    `json:"cut"`
	Delay string  `json:"delay,omitempty"`
	Loss  float64 `json:"loss,omitempty"`
}

// daemon owns the fabric and the power of the machines for as long as the lab
// is up. It takes one verb at a time.
type daemon struct {
	lab    Lab
	binary string
	fabric *fabric
	wiring *wiring // of virtual machines; nil in process mode
	log    *slog.Logger
	mu     sync.Mutex // one verb at a time
	stop   context.CancelFunc
}

// runDaemon is `lab daemon`, started by `lab up` in a session of its own.
func runDaemon(dir, binary string) error {
	lab, err := loadLab(dir)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	d := &daemon{lab: lab, binary: binary, fabric: newFabric(log), log: log, stop: stop}
	for _, m := range lab.Nodes {
		for _, l := range m.Links {
			ln, err := net.Listen("tcp", l.Listen)
			if err != nil {
				return fmt.Errorf("link %s from %s to %s: %w", l.Path, m.Name, l.To, err)
			}
			from := m.Name
			if l.From != "" {
				from = l.From
			}
			go d.fabric.serve(ctx, ln, from, l.To, l.Path, l.Target)
		}
	}
	if lab.Mode == "vm" {
		d.fabric.cabled = true
		if d.wiring, err = wire(ctx, lab, vmForwards(lab)); err != nil {
			return err
		}
	}
	for _, m := range lab.Nodes {
		if err := start(m, binary, Oddity{}); err != nil {
			return err
		}
	}
	_ = os.Remove(lab.Socket)
	ln, err := net.Listen("unix", lab.Socket)
	if err != nil {
		return fmt.Errorf("lab socket: %w", err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(d.serve), ReadHeaderTimeout: 5 * time.Second}
	context.AfterFunc(ctx, func() { _ = srv.Close() })
	if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	for _, m := range lab.Nodes {
		if err := kill(m); err != nil {
			return err
		}
	}
	return nil
}

func (d *daemon) serve(w http.ResponseWriter, r *http.Request) {
	var a ask
	var out reply
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 4096)).Decode(&a); err != nil {
		out.Error = err.Error()
	} else if err := d.do(a, &out); err != nil {
		out.Error = err.Error()
	}
	w.Header().Set("Connection", "close")
	_ = json.NewEncoder(w).Encode(out)
	if a.Verb == "down" && out.Error == "" {
		_ = http.NewResponseController(w).Flush() // the answer leaves before the daemon does
		time.AfterFunc(100*time.Millisecond, d.stop)
	}
}

func (d *daemon) do(a ask, out *reply) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if a.Verb != "links" { // who only looks leaves no trace
		d.log.Info("verb", "verb", a.Verb, "node", a.Node, "link", a.Link, "from", a.From)
	}
	switch a.Verb {
	case "kill", "start", "pause", "resume":
		return d.power(a)
	case "blank":
		return d.blank(a)
	case "cut", "heal", "shape":
		return d.link(a)
	case "plug":
		if d.wiring == nil {
			return errors.New("plug: machines that are processes have no cables; use lab up --mode vm")
		}
		return d.wiring.plug(a.Node, a.Link, a.Into)
	case "lan":
		if d.wiring == nil {
			return errors.New("lan: machines that are processes have no cables; use lab up --mode vm")
		}
		var err error
		out.Lan, err = d.wiring.lan()
		return err
	case "links":
		out.Links = d.fabric.list()
		return nil
	case "down":
		return nil // serve stops the daemon once it has answered
	}
	return fmt.Errorf("verb %q is not known", a.Verb)
}

func (d *daemon) power(a ask) error {
	m, err := d.lab.machine(a.Node)
	if err != nil {
		return err
	}
	switch a.Verb {
	case "kill":
		d.silence(m.Name, false) // the network goes silent first
		return kill(m)
	case "start":
		if state := power(m); state != "off" { // before its connections are reset
			return fmt.Errorf("node %s is %s already", m.Name, state)
		}
		d.silence(m.Name, true)
		return start(m, d.binary, a.Oddity)
	case "pause":
		return pause(m)
	default:
		return resume(m)
	}
}

// blank puts a new machine into a dead one's place, and notes which image it has.
func (d *daemon) blank(a ask) error {
	m, err := d.lab.machine(a.Node)
	if err != nil {
		return err
	}
	if err := blank(d.lab, m, a.Image); err != nil {
		return err
	}
	sum, err := sumFile(a.Image)
	if err != nil {
		return fmt.Errorf("image: %w", err)
	}
	for i := range d.lab.Nodes {
		if d.lab.Nodes[i].Name == m.Name {
			d.lab.Nodes[i].Image = sum
		}
	}
	return d.lab.save()
}

func (d *daemon) link(a ask) error {
	ways, err := parseLink(a.Link, a.From)
	if err != nil {
		return err
	}
	if a.Delay < 0 || a.Delay > 10*time.Second || a.Loss < 0 || a.Loss >= 1 {
		return fmt.Errorf("shape: delay from 0 to 10s and loss from 0 to below 1, not %v and %v", a.Delay, a.Loss)
	}
	set := func(s *shape) {
		switch a.Verb {
		case "cut":
			s.Cut = true
		case "heal":
			*s = shape{}
		default:
			s.Delay, s.Loss = a.Delay, a.Loss
		}
	}
	d.fabric.set(ways, set)
	if d.wiring != nil {
		d.wiring.set(ways, set)
	}
	return nil
}

// silence ends, or begins again, everything that a node says on the network.
func (d *daemon) silence(node string, on bool) {
	d.fabric.power(node, on)
	if d.wiring != nil {
		d.wiring.power(node, on)
	}
}

// list names every way that is cut or shaped.
func (f *fabric) list() []linkState {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := []linkState{}
	for _, link := range []string{"fibre1", "fibre2", "lan-a", "lan-b", "lan-w"} {
		for _, from := range []string{"a", "b", "witness", ""} {
			s, ok := f.ways[way{link, from}]
			if !ok || s == (shape{}) {
				continue
			}
			l := linkState{Link: link, From: from, Cut: s.Cut, Loss: s.Loss}
			if s.Delay > 0 {
				l.Delay = s.Delay.String()
			}
			out = append(out, l)
		}
	}
	return out
}

// call sends a verb to the daemon.
func call(lab Lab, a ask) (reply, error) {
	client := http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", lab.Socket)
		},
	}}
	body, err := json.Marshal(a)
	if err != nil {
		return reply{}, err
	}
	res, err := client.Post("http://lab/", "application/json", bytesReader(body))
	if err != nil {
		return reply{}, fmt.Errorf("the lab in %s does not answer (is it up?): %w", filepath.Dir(lab.Socket), err)
	}
	defer res.Body.Close()
	var out reply
	if err := json.NewDecoder(res.Body).Decode(&out); err != nil {
		return reply{}, fmt.Errorf("answer of the lab: %w", err)
	}
	if out.Error != "" {
		return out, errors.New(out.Error)
	}
	return out, nil
}
