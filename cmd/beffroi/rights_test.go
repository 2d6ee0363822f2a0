package main_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"beffroi.dev/appliance/config"
	"beffroi.dev/appliance/parent"
	"beffroi.dev/appliance/rights"
	"beffroi.dev/appliance/status"
	"beffroi.dev/pkg/host/account"
	"beffroi.dev/pkg/host/cgroup/cgrouptest"
	"beffroi.dev/pkg/quorum/cluster"
	"beffroi.dev/pkg/transport/transporttest"
)

// nodeA runs a's init in this process, with or without the appliance's rights, and
// b and the witness beside it, until citizens are served by a.
func nodeA(t *testing.T, r func(d config.Dir, n *config.Node) *rights.Plan) (*town, *config.Node) {
	w := newTown(t)
	w.withStores()
	return w, startA(t, w, r)
}

func startA(t *testing.T, w *town, r func(d config.Dir, n *config.Node) *rights.Plan) *config.Node {
	d := w.dirs["a"]
	n, err := config.Load(d)
	if err != nil {
		t.Fatal(err)
	}
	n.Console.Listen = transporttest.Addr()
	if err := errors.Join(config.Save(d, n), os.WriteFile(d.Token(), []byte(strings.Repeat("t", 32)), 0o600)); err != nil {
		t.Fatal(err)
	}
	w.run("b", "init")
	w.run("w", "init")
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	ready := make(chan struct{}, 1)
	go func() {
		c := parent.Config{Dir: d, Binary: w.binary, Has: func(string) bool { return true }, Rights: r(d, n)}
		ended <- parent.Run(ctx, c, n, func() {
			select {
			case ready <- struct{}{}:
			default:
			}
		}, slog.New(slog.NewTextHandler(t.Output(), nil)))
	}()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("init ended with %v", err)
		}
	})
	select {
	case <-ready:
	case <-time.After(time.Minute):
		t.Fatal("the services do not become ready")
	}
	w.await("a majority", func() bool { return w.status("a").Votes.Vouched })
	g := w.propose("a", &cluster.CreateGroup{Name: "citizen", Preferred: 1, Durability: cluster.Strict, Volumes: []cluster.NewVolume{{Name: "disk", SizeBytes: 16 << 20}}})
	w.propose("a", &cluster.SetService{Group: g.Group})
	w.await("the citizens to be served by a", func() bool {
		s := w.status("a")
		return s.Address && s.Citizen != nil && s.Citizen.Serving && s.Citizen.Copies == 2
	})
	return n
}

// noRights is process mode.
func noRights(config.Dir, *config.Node) *rights.Plan { return nil }

// visitors ask for a page again and again, each time by a new connection, until
// they are told to stop. They return how many answers there were, and every failure
// to connect or to be answered.
func visitors(t *testing.T, url string) (answered func() int, stop func() (int, []error)) {
	ctx, cancel := context.WithCancel(t.Context())
	var mu sync.Mutex
	var wg sync.WaitGroup
	answers, faults := 0, []error(nil)
	for range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true}}
			for ctx.Err() == nil {
				res, err := client.Get(url)
				if err == nil {
					_, err = io.Copy(io.Discard, res.Body)
					err = errors.Join(err, res.Body.Close())
				}
				mu.Lock()
				if err == nil && res.StatusCode == http.StatusOK {
					answers++
				} else {
					faults = append(faults, errors.Join(err, fmt.Errorf("%+v", res)))
				}
				mu.Unlock()
				time.Sleep(5 * time.Millisecond)
			}
		}()
	}
	answered = func() int { mu.Lock(); defer mu.Unlock(); return answers }
	return answered, func() (int, []error) { cancel(); wg.Wait(); return answers, faults }
}

// A connection that stood when the service was killed is cut: its request may have
// been read. One that came after is never refused.
func TestNoCitizenIsRefusedWhileTheServiceIsKilled(t *testing.T) {
	w, n := nodeA(t, noRights)
	for _, address := range []string{n.Citizen.Service, n.Citizen.Listen} {
		answered, stop := visitors(t, "http://"+address+"/")
		kills := 0
		for range 3 {
			before := answered()
			w.await("each visitor to be answered", func() bool { return answered() >= before+8 })
			old := servicePID(t, w.dirs["a"], "citizen")
			_ = syscall.Kill(old, syscall.SIGKILL)
			kills++
			w.await("the next life to serve", func() bool {
				p := servicePID(t, w.dirs["a"], "citizen")
				s := w.status("a")
				return p != 0 && p != old && s.Citizen.Serving && answersNow("http://"+address+"/")
			})
		}
		answers, faults := stop()
		cut := 0
		for _, err := range faults {
			if errors.Is(err, syscall.ECONNREFUSED) || !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("%s: %v; want no connection refused", address, err)
			}
			cut++
		}
		t.Logf("%s: %d answers through %d kills, %d connections cut under way, none refused", address, answers, kills, cut)
		if cut > 8*kills {
			t.Errorf("%d answers, %d cut; want at most one of each visitor cut at each kill", answers, cut)
		}
	}
}

func answersNow(url string) bool {
	c := &http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := c.Get(url)
	if err != nil {
		return false
	}
	_ = res.Body.Close()
	return res.StatusCode == http.StatusOK
}

// proc reads a line of a process's status.
func proc(t *testing.T, pid int, key string) string {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, key+":"); ok {
			return strings.Join(strings.Fields(v), " ")
		}
	}
	return ""
}

func TestEachServiceOfAnApplianceHasItsRightsAlone(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can give services other users")
	}
	groups := cgrouptest.Folder(t)
	var plan rights.Plan
	w, n := nodeA(t, func(d config.Dir, n *config.Node) *rights.Plan {
		// The program must be reached by every user.
		if err := errors.Join(os.Chmod(w0(d), 0o711), os.Chmod(filepath.Join(w0(d), "beffroi"), 0o755)); err != nil {
			t.Error(err)
		}
		plan = rights.Plan{Dir: d, Store: n.Store.Path, Groups: groups}
		return &plan
	})
	d := w.dirs["a"]
	for service, want := range map[string]struct {
		user account.ID
		caps string
		path string
	}{
		"node":    {account.Node, "0000000000000000", "/beffroi/node"},
		"block":   {account.Block, "0000000000000000", "/beffroi/block"},
		"vm":      {account.VM, "00000000000000e1", "/vm/service"},
		"citizen": {account.Citizen, "0000000000000000", "/beffroi/citizen"},
		"console": {account.Console, "0000000000000000", "/beffroi/console"},
	} {
		pid := servicePID(t, d, service)
		id := strconv.Itoa(int(want.user))
		if got := proc(t, pid, "Uid"); got != strings.Join([]string{id, id, id, id}, " ") {
			t.Errorf("%s runs as %s; want %s", service, got, id)
		}
		for key, value := range map[string]string{"CapEff": want.caps, "CapPrm": want.caps, "NoNewPrivs": "1"} {
			if got := proc(t, pid, key); got != value {
				t.Errorf("%s: %s is %s; want %s", service, key, got, value)
			}
		}
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
		if err != nil || !strings.Contains(string(b), want.path+"\n") {
			t.Errorf("%s is in the groups %s (%v); want %s", service, b, err, want.path)
		}
	}
	mayNot(t, d, n)

	list, err := status.LoadServices(d.Services())
	if err != nil || len(list) != 5 || len(w.status("a").Services) != 5 {
		t.Errorf("services as init tells them: %+v, %v", list, err)
	}
	for _, service := range []string{"node", "block", "vm", "citizen", "console"} {
		old := servicePID(t, d, service)
		_ = syscall.Kill(old, syscall.SIGKILL)
		w.await(service+" to be ready again", func() bool {
			list, _ := status.LoadServices(d.Services())
			for _, s := range list {
				if s.Name == service {
					return s.State == "ready" && s.PID != old
				}
			}
			return false
		})
	}
	w.await("the citizens to be served", func() bool { s := w.status("a"); return s.Citizen != nil && s.Citizen.Serving })
}

func w0(d config.Dir) string { return filepath.Dir(string(d)) }

// mayNot tries what each user must not be able to do.
func mayNot(t *testing.T, d config.Dir, n *config.Node) {
	t.Helper()
	in := func(name string) string { return filepath.Join(string(d), name) }
	for _, tc := range []struct {
		who   account.ID
		may   bool
		flag  string // of test(1): r, w or x
		paths []string
	}{
		{account.Citizen, false, "r", []string{d.Key(), d.Token(), d.Vote(), n.Store.Path, d.Own("console"), d.Own("block"), d.Logs(), d.Uploads()}},
		{account.Citizen, false, "w", []string{d.Config(), d.Run(), string(d), d.Socket("vm"), d.Socket("init"), d.Socket("console"), d.Guests()}},
		{account.Citizen, true, "w", []string{d.Socket("nbd"), d.Socket("node"), d.Socket("notify"), filepath.Join(d.Run(), "citizen")}},
		{account.Console, false, "r", []string{d.Key(), d.Vote(), n.Store.Path, in("rescue-password"), filepath.Join(d.Run(), "citizen")}},
		{account.Console, true, "r", []string{d.Token(), d.Config(), d.Own("console")}},
		{account.Console, true, "w", []string{d.Socket("vm"), d.Socket("citizen")}},
		{account.Console, false, "w", []string{d.Run(), d.Socket("init"), d.Guests()}},
		{account.VM, false, "r", []string{d.Key(), d.Vote(), n.Store.Path, d.Token()}},
		{account.VM, false, "w", []string{d.Socket("nbd"), d.Socket("citizen"), d.Run()}},
		{account.Node, true, "r", []string{d.Key(), d.Vote()}},
		{account.Node, false, "w", []string{n.Store.Path, d.Socket("nbd"), d.Socket("vm"), d.Run(), d.Key()}},
		{account.Block, true, "w", []string{n.Store.Path}},
		{account.Block, false, "r", []string{d.Vote(), d.Token()}},
		{100001, false, "r", []string{d.Key(), d.Config(), d.Token(), d.Vote(), n.Store.Path, d.Logs()}},
		{100001, false, "w", []string{d.Socket("node"), d.Socket("vm"), d.Socket("citizen"), d.Socket("notify"), d.Socket("init"), d.Guests(), d.Run()}},
	} {
		for _, p := range tc.paths {
			if _, err := os.Lstat(p); err != nil {
				if tc.may {
					t.Error(err)
				}
				continue
			}
			if got := can(t, tc.who, tc.flag, p); got != tc.may {
				t.Errorf("user %d (%s): -%s %s is %v", tc.who, account.Name(tc.who), tc.flag, p, got)
			}
		}
	}
}

// can asks the kernel, as that user, by test(1).
func can(t *testing.T, who account.ID, flag, path string) bool {
	t.Helper()
	cmd := exec.Command("test", "-"+flag, path)
	cred := &syscall.Credential{Uid: uint32(who), Gid: uint32(who)}
	for _, g := range account.Groups(who) {
		cred.Groups = append(cred.Groups, uint32(g))
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: cred}
	err := cmd.Run()
	var no *exec.ExitError
	if err != nil && !errors.As(err, &no) {
		t.Fatal(err)
	}
	return err == nil
}
