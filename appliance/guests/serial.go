package guests

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"beffroi.dev/appliance/socket"
	"beffroi.dev/pkg/guest/vm"
)

// Protocol is the name of the stream that an attached client speaks after 101.
const Protocol = "beffroi-serial"

const maxTail = 256 << 10 // bytes: what is kept

// lines are the serial lines of the machines, for the socket.
type lines struct {
	mu       sync.Mutex // guards vms, attached
	vms      map[string]*vm.VM
	attached map[string]bool
}

func newLines() *lines { return &lines{vms: map[string]*vm.VM{}, attached: map[string]bool{}} }

func (l *lines) put(name string, v *vm.VM) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.vms[name] = v
}

func (l *lines) drop(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.vms, name)
}

func (l *lines) get(name string) *vm.VM {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.vms[name]
}

func (l *lines) has(name string, v *vm.VM) bool { return l.get(name) == v }

// take attaches; QEMU serves one client at a time and would keep a second one
// waiting without a word.
func (l *lines) take(name string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.attached[name] {
		return false
	}
	l.attached[name] = true
	return true
}

func (l *lines) leave(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.attached, name)
}

// listen serves the socket "vm".
func (s *service) listen() error {
	l := s.cfg.Listener
	if l == nil {
		var err error
		if l, err = socket.Bind(s.cfg.Dir.Socket("vm")); err != nil {
			return err
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/serial/{name}", s.lines.tail)
	mux.HandleFunc("GET /v1/attach/{name}", s.lines.attach)
	mux.HandleFunc("POST /v1/drain", s.serveDrain)
	ctx := s.tasks.Context()
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, MaxHeaderBytes: 8 << 10, BaseContext: func(net.Listener) context.Context { return ctx }}
	s.tasks.Go("socket", func(ctx context.Context) error {
		defer context.AfterFunc(ctx, func() { _ = srv.Close() })()
		if err := srv.Serve(l); ctx.Err() == nil {
			return fmt.Errorf("serve the socket: %w", err)
		}
		return nil
	})
	return nil
}

func (l *lines) tail(w http.ResponseWriter, r *http.Request) {
	v := l.get(r.PathValue("name"))
	if v == nil {
		http.Error(w, "this VM is not on this node", http.StatusNotFound)
		return
	}
	n := maxTail
	if text := r.URL.Query().Get("bytes"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil || n < 1 || n > maxTail {
			http.Error(w, fmt.Sprintf("bytes: use 1 to %d", maxTail), http.StatusBadRequest)
			return
		}
	}
	b, err := v.SerialTail()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	_, _ = w.Write(b[max(0, len(b)-n):])
}

// attach joins a client with the line until either ends.
func (l *lines) attach(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	v := l.get(name)
	switch {
	case v == nil:
		http.Error(w, "this VM is not on this node", http.StatusNotFound)
		return
	case r.Header.Get("Upgrade") != Protocol:
		http.Error(w, "use Upgrade: "+Protocol, http.StatusUpgradeRequired)
		return
	case !l.take(name):
		http.Error(w, "somebody else is attached to this serial line", http.StatusConflict)
		return
	}
	defer l.leave(name)
	line, err := v.DialSerial(r.Context())
	if err != nil {
		http.Error(w, "the VM does not run", http.StatusConflict)
		return
	}
	defer line.Close()
	client, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer client.Close()
	_ = client.SetDeadline(time.Time{})
	if _, err := io.WriteString(client, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "+Protocol+"\r\n\r\n"); err != nil {
		return
	}
	Join(r.Context(), line, client, buffered)
}
