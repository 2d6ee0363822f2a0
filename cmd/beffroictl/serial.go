package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"

	"golang.org/x/term"

	"beffroi.dev/appliance/guests"
	"beffroi.dev/pkg/task"
)

func (p *program) vmLogs() do {
	bytes := p.flags.Int("bytes", 0, "")
	return func(ctx context.Context, args []string) error {
		path := "vms/" + segment(args[0]) + "/serial"
		if *bytes != 0 {
			path += "?bytes=" + strconv.Itoa(*bytes)
		}
		ctx, cancel := context.WithTimeout(ctx, callBound)
		defer cancel()
		req, err := p.client.request(ctx, "GET", path, nil)
		if err != nil {
			return err
		}
		b, err := p.client.send(req)
		if err != nil {
			return err
		}
		if p.json {
			return p.asJSON(map[string]string{"vm": args[0], "serial": string(b)})
		}
		_, err = p.out.Write(b)
		return err
	}
}

// vmSerial joins the terminal with a serial line.
func (p *program) vmSerial(ctx context.Context, args []string) error {
	line, ahead, err := p.client.attach(ctx, args[0])
	if err != nil {
		return err
	}
	defer line.Close()
	defer context.AfterFunc(ctx, func() { _ = line.Close() })()
	if f, ok := p.in.(*os.File); ok && p.terminal(f) {
		fmt.Fprintf(p.err, p.tr("Connected to %s. Leave with Enter ~ .\r\n", "Connecté à %s. Pour quitter : Entrée ~ .\r\n"), args[0])
		old, err := term.MakeRaw(int(f.Fd()))
		if err != nil {
			return fmt.Errorf("raw terminal: %w", err)
		}
		defer func() {
			_ = term.Restore(int(f.Fd()), old)
			fmt.Fprintln(p.err)
		}()
	}
	said, typed := make(chan error, 1), make(chan error, 1)
	tasks := task.New(ctx)
	defer func() { _ = tasks.Stop(0) }() // a terminal's reader cannot be interrupted: it ends with the program
	tasks.Go("line", func(context.Context) error { _, err := io.Copy(p.out, ahead); said <- err; return nil })
	tasks.Go("typing", func(context.Context) error { typed <- typing(line, p.in); return nil })
	select {
	case err := <-said:
		if ctx.Err() == nil && err != nil && !errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("serial line: %w", err)
		}
		return nil
	case err := <-typed:
		if err == nil {
			drain(line, said) // what was piped in has been sent; its echo may come yet
		}
		if errors.Is(err, errEscaped) {
			return nil
		}
		return err
	}
}

// drain waits a moment for what the guest still says.
func drain(line net.Conn, said <-chan error) {
	_ = line.SetReadDeadline(time.Now().Add(time.Second))
	<-said
}

var errEscaped = errors.New("escaped")

// typing sends what is typed until the escape or the end of the input.
func typing(line io.Writer, in io.Reader) error {
	e := escape{fresh: true}
	buf := make([]byte, 4096)
	for {
		n, err := in.Read(buf)
		out, leave := e.filter(buf[:n])
		if len(out) > 0 {
			if _, err := line.Write(out); err != nil {
				return nil // the line's end is told by its reader
			}
		}
		switch {
		case leave:
			return errEscaped
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("read terminal: %w", err)
		}
	}
}

// escape finds "~." at the beginning of a line; "~~" sends one "~".
type escape struct {
	fresh bool // at the beginning of a line
	tilde bool // after a tilde there
}

func (e *escape) filter(p []byte) (out []byte, leave bool) {
	for _, c := range p {
		switch {
		case e.tilde && c == '.':
			return out, true
		case e.tilde:
			e.tilde = false
			out = append(out, '~')
			if c == '~' {
				e.fresh = false
				continue
			}
		case e.fresh && c == '~':
			e.tilde, e.fresh = true, false
			continue
		}
		out = append(out, c)
		e.fresh = c == '\r' || c == '\n'
	}
	return out, false
}

// attach upgrades a connection to a serial line. What came with the answer is read
// from the reader first.
func (c *client) attach(ctx context.Context, name string) (net.Conn, io.Reader, error) {
	bound, cancel := context.WithTimeout(ctx, dialBound)
	defer cancel()
	nc, err := c.dial(bound)
	if err != nil {
		return nil, nil, c.away(err)
	}
	req, err := c.request(bound, http.MethodGet, "vms/"+segment(name)+"/attach", nil)
	if err == nil {
		req.Header.Set("Connection", "Upgrade")
		req.Header.Set("Upgrade", guests.Protocol)
		_ = nc.SetDeadline(time.Now().Add(dialBound))
		err = req.Write(nc)
	}
	ahead := bufio.NewReader(nc)
	var resp *http.Response
	if err == nil {
		resp, err = http.ReadResponse(ahead, req)
	}
	if err != nil {
		_ = nc.Close()
		return nil, nil, c.away(err)
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		b, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
		_ = nc.Close()
		return nil, nil, refusal(resp.Status, b)
	}
	_ = nc.SetDeadline(time.Time{})
	return nc, ahead, nil
}
