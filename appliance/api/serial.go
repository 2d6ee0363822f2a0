package api

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"beffroi.dev/appliance/guests"
	"beffroi.dev/pkg/quorum/cluster"
)

// lineHere tells whether a VM's serial line is on this node.
func (a *API) lineHere(r *http.Request) (cluster.VM, error) {
	v, s, err := a.vm1(r)
	if err != nil {
		return v, err
	}
	if v.Node != 0 && v.Node != a.cfg.Self {
		n := s.Nodes[v.Node].Name
		return v, &Error{Code: Elsewhere, Node: n, Message: fmt.Sprintf("VM %s runs on node %s", v.Name, n), Hint: "ask node " + n}
	}
	return v, nil
}

func (a *API) serial(w http.ResponseWriter, r *http.Request, _ caller) error {
	v, err := a.lineHere(r)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), askBound)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://vm/v1/serial/"+v.Name, nil)
	if err != nil {
		return fmt.Errorf("serial line: %w", err)
	}
	q := req.URL.Query()
	if n := r.URL.Query().Get("bytes"); n != "" {
		q.Set("bytes", n)
	}
	req.URL.RawQuery = q.Encode()
	resp, err := a.vm.Do(req)
	if err != nil {
		return noVMService(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return lineError(resp)
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("X-Content-Type-Options", "nosniff") // what a guest says is not a page
	_, _ = io.Copy(w, resp.Body)
	return nil
}

func noVMService(err error) error {
	return &Error{Code: Unavailable, Message: "the vm service of this node does not answer: " + err.Error(), Hint: "it may be starting; try again"}
}

func lineError(resp *http.Response) error {
	b, _ := io.ReadAll(io.LimitReader(resp.Body, 1000))
	code := Refused
	switch resp.StatusCode {
	case http.StatusBadRequest:
		code = BadInput
	case http.StatusNotFound:
		code = NotFound
	}
	return &Error{Code: code, Message: "serial line: " + strings.TrimSpace(string(b))}
}

// attach joins the client with the vm service, which joins it with the line.
func (a *API) attach(w http.ResponseWriter, r *http.Request, who caller) error {
	v, err := a.lineHere(r)
	if err != nil {
		return err
	}
	if r.Header.Get("Upgrade") != guests.Protocol {
		return badInput("use the headers Connection: Upgrade and Upgrade: %s, over HTTP/1.1", guests.Protocol)
	}
	line, ahead, err := a.dialLine(r.Context(), v.Name)
	if err != nil {
		return err
	}
	defer line.Close()
	client, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return badInput("this connection cannot be upgraded (%v): use HTTP/1.1", err)
	}
	defer client.Close()
	_ = client.SetDeadline(time.Time{})
	a.log.Info("serial line attached", "vm", v.Name, "user", who.name, "from", who.from)
	if _, err := io.WriteString(client, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "+guests.Protocol+"\r\n\r\n"); err != nil {
		return nil
	}
	if n := ahead.Buffered(); n > 0 {
		b, _ := ahead.Peek(n)
		if _, err := client.Write(b); err != nil {
			return nil
		}
	}
	guests.Join(r.Context(), line, client, buffered)
	return nil
}

// dialLine upgrades a connection to the vm service.
func (a *API) dialLine(ctx context.Context, name string) (net.Conn, *bufio.Reader, error) {
	bound, cancel := context.WithTimeout(ctx, askBound)
	defer cancel()
	nc, err := new(net.Dialer).DialContext(bound, "unix", a.cfg.Dir.Socket("vm"))
	if err != nil {
		return nil, nil, noVMService(err)
	}
	_ = nc.SetDeadline(time.Now().Add(askBound))
	req, err := http.NewRequest(http.MethodGet, "http://vm/v1/attach/"+name, nil)
	if err == nil {
		req.Header.Set("Connection", "Upgrade")
		req.Header.Set("Upgrade", guests.Protocol)
		err = req.Write(nc)
	}
	if err != nil {
		_ = nc.Close()
		return nil, nil, noVMService(err)
	}
	ahead := bufio.NewReader(nc)
	resp, err := http.ReadResponse(ahead, req)
	if err != nil {
		_ = nc.Close()
		return nil, nil, noVMService(err)
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		defer nc.Close()
		return nil, nil, lineError(resp)
	}
	_ = nc.SetDeadline(time.Time{})
	return nc, ahead, nil
}
