// Command citizen-demo serves the citizen service on a file, for trials by hand.
//
// Synopsis:
//
//	citizen-demo [-listen 127.0.0.1:8080] [-volume FILE] [-size BYTES]
//
// It makes and formats the file if it is missing, provisions the agent
// "martin", and prints how to log in. The keys of a running demo:
//
//	2, 1   two copies, one copy      s   serving or not
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"sync/atomic"
	"time"

	"beffroi.dev/pkg/citizen/agent"
	"beffroi.dev/pkg/citizen/casefile"
	"beffroi.dev/pkg/citizen/front"
	"beffroi.dev/pkg/citizen/service"
	"beffroi.dev/pkg/citizen/store"
	"beffroi.dev/pkg/citizen/web"
	"beffroi.dev/pkg/clock"
	"beffroi.dev/pkg/disk"
	"beffroi.dev/pkg/task"
)

const password = "demonstration seulement"

func main() {
	listen := flag.String("listen", "127.0.0.1:8080", "address to serve on")
	volume := flag.String("volume", "out/citizen-demo.volume", "file that stands in for the volume")
	size := flag.Int64("size", 64<<20, "its size when it is made, bytes")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *listen, *volume, *size, os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "citizen-demo:", err)
		os.Exit(1)
	}
}

func config() service.Config {
	hall := casefile.Contact{Name: "Mairie de Valmont", Address: "1 place de la République, 77000 Valmont", Phone: "01 60 00 00 00", Email: "mairie@valmont.example"}
	roads := casefile.Contact{Name: "Service voirie et éclairage", Address: "14 rue des Ateliers, 77000 Valmont", Phone: "01 60 00 00 12", Email: "voirie@valmont.example"}
	return service.Config{Web: web.Config{Town: "Ville de Valmont", Contact: hall, Services: map[string]casefile.Contact{"voirie": roads}}}
}

func run(ctx context.Context, listen, volume string, size int64, in io.Reader, out io.Writer) error {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	fresh := false
	if _, err := os.Stat(volume); errors.Is(err, os.ErrNotExist) {
		fresh = true
		if err := disk.CreateFile(volume, size); err != nil {
			return err
		}
	}
	dev, err := disk.OpenFile(volume)
	if err != nil {
		return err
	}
	defer dev.Close()
	if fresh {
		if err := store.Format(ctx, dev, store.Config{}, log); err != nil {
			return err
		}
	}
	var role atomic.Pointer[service.Role]
	role.Store(&service.Role{Serving: true, Copies: 2, Epoch: 1})
	svc, err := service.Open(ctx, dev, config(), func() service.Role { return *role.Load() }, clock.System{}, log)
	if err != nil {
		return err
	}
	defer svc.Close()
	enrolment, err := svc.Agents().Provision(ctx, agent.New{Name: "martin", Display: "Camille Martin", Password: password, Issuer: "Valmont"})
	switch {
	case err == nil:
		fmt.Fprintf(out, "agent: martin\npassword: %s\nsecret: %s\n%s\n", password, enrolment.Secret, enrolment.URI)
	case !errors.Is(err, agent.ErrExists):
		return err
	}
	f, err := front.New(ctx, front.DefaultConfig(), func() front.Target { return front.Target{Local: svc.Handler()} }, log)
	if err != nil {
		return err
	}
	defer f.Close()
	server := &http.Server{Addr: listen, Handler: f, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute}
	tasks := task.New(ctx)
	tasks.Go("serve", func(context.Context) error { return server.ListenAndServe() })
	tasks.Go("keys", func(context.Context) error { keys(in, out, &role); return nil })
	fmt.Fprintf(out, "http://%s/\n", listen)
	<-tasks.Context().Done()
	_ = server.Close()
	if err := tasks.Stop(time.Second); err != nil && ctx.Err() == nil {
		return err
	}
	return nil
}

// keys changes the role, so that each sentence of a receipt can be seen.
func keys(in io.Reader, out io.Writer, role *atomic.Pointer[service.Role]) {
	for s := bufio.NewScanner(in); s.Scan(); {
		r := *role.Load()
		switch s.Text() {
		case "1":
			r.Copies = 1
		case "2":
			r.Copies = 2
		case "s":
			r.Serving = !r.Serving
			r.Reason = "switched off by hand"
		default:
			continue
		}
		r.Epoch++
		role.Store(&r)
		fmt.Fprintf(out, "%+v\n", r)
	}
}
