package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"beffroi.dev/appliance/agents"
	"beffroi.dev/appliance/api"
	"beffroi.dev/appliance/guests"
	"beffroi.dev/appliance/status"
	"beffroi.dev/pkg/quorum/cluster"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files anew")

var now = time.Date(2026, 11, 24, 10, 0, 0, 0, time.UTC)

// answers are what the node of these tests says.
func answers() map[string]any {
	since, ended := now.Add(-3*time.Hour-5*time.Minute), now.Add(-time.Hour)
	groups := []api.Group{
		{ID: 1, Name: "etat-civil", Primary: "a", Preferred: "a", InSync: []string{"a", "b"}, Epoch: 4, Durability: cluster.Strict, VM: "etat-civil", Volumes: []api.Volume{{ID: 1, Name: "disk0", Group: "etat-civil", SizeBytes: 20 << 30, Primary: "a", InSync: []string{"a", "b"}}}},
		{ID: 2, Name: "citizens", Primary: "b", Preferred: "b", InSync: []string{"b"}, Epoch: 9, Durability: cluster.Strict, Citizen: true, Volumes: []api.Volume{{ID: 2, Name: "data", Group: "citizens", SizeBytes: 1536 << 20, Primary: "b", InSync: []string{"b"}}}},
		{ID: 3, Name: "scratch", Primary: "a", Preferred: "a", InSync: []string{"a"}, Epoch: 2, Durability: cluster.Buffered, Volumes: []api.Volume{{ID: 3, Name: "x", Group: "scratch", SizeBytes: 4096 << 10, Primary: "a", InSync: []string{"a"}}}},
	}
	return map[string]any{
		"GET status": status.Node{
			Name: "a", ID: 1, Kind: "node", Site: "main", Profile: "lab", Time: now, Votes: status.Votes{Role: "leader", Leader: 1, Term: 3, Index: 77, Vouched: true},
			Members: []status.Member{{ID: 1, Name: "a", Kind: "node", Site: "main", Up: true}, {ID: 2, Name: "b", Kind: "node", Site: "recovery", Up: true}, {ID: 9, Name: "witness", Kind: "witness", Site: "library"}},
			Links:   []status.Link{{Peer: 2, Path: "fibre1", Kind: "vote", Up: true}, {Peer: 2, Path: "fibre2", Kind: "vote"}, {Peer: 9, Path: "lan", Kind: "vote"}},
			Store:   &status.Store{Free: 300 << 30, Capacity: 1 << 40, Linked: true, Groups: []status.LocalGroup{{ID: 3, Resync: &status.Resync{Running: true, CopiedBytes: 30, DirtyBytes: 70}}}},
			Citizen: &status.Citizen{Proxy: true, URL: "http://127.0.0.10:8080"},
			Problem: []status.Problem{{Code: "solo", Level: "error", Object: "citizens"}, {Code: "witness-silent", Level: "warning"}},
		},
		"GET groups":  groups,
		"GET volumes": []api.Volume{groups[0].Volumes[0], groups[1].Volumes[0]},
		"GET vms": []api.VM{
			{ID: 1, Name: "etat-civil", Group: "etat-civil", CPUs: 2, MemoryMB: 4096, Firmware: "uefi", Run: true, Node: "a", Generation: 3, State: "running", Since: &since, Accel: "kvm",
				NICs: []api.NIC{{MAC: "52:30:09:b3:6f:5c"}, {MAC: "52:30:09:b3:6f:5d"}}},
			{ID: 2, Name: "paie", Group: "paie", CPUs: 1, MemoryMB: 512, Firmware: "bios", Run: true, Node: "b", Generation: 1, NICs: []api.NIC{}},
			{ID: 3, Name: "archives", Group: "archives", CPUs: 1, MemoryMB: 512, Firmware: "bios", Run: true, Node: "a", Generation: 5, State: "paused-io", Since: &ended, Cause: "write of disk disk0 failed:\x1b[31m no space left", Accel: "kvm",
				NICs: []api.NIC{{MAC: "52:30:09:b3:6f:60"}}, Network: status.NetworkProcess},
		},
		"GET users": []api.User{{Name: "anne", Role: cluster.RoleAdmin, TOTP: true}, {Name: "oscar", Role: cluster.RoleOperator}},
		"GET agents": []agents.Agent{
			{Name: "martin", Display: "Camille Martin", Made: now.Add(-50 * 24 * time.Hour), LastLogin: &ended},
			{Name: "zoe", Display: "Zoé\x1b[31m", Made: now.Add(-time.Minute)},
			{Name: "dupont", Display: "Luc Dupont", Made: now.Add(-50 * 24 * time.Hour), LastLogin: &since, Closed: &ended},
		},
		"GET events": []status.Event{
			{No: 41, Time: now.Add(-26 * time.Hour), Kind: "create-group", Group: "etat-civil", New: "etat-civil: a with b"},
			{No: 42, Time: now.Add(-time.Minute), Kind: "place-vm", Node: 1, VM: "etat-civil", Old: "b", New: "a", Cause: "no voter of a majority heard b for 6s"},
		},
		"GET jobs": []api.Job{
			{ID: 7, Kind: "import", VM: "paie", User: "anne", Phase: api.PhaseCopy, Percent: 40, DoneBytes: 4 << 30, TotalBytes: 10 << 30, Started: now.Add(-95 * time.Second)},
			{ID: 6, Kind: "import", VM: "old", User: "local", Phase: api.PhaseFailed, Error: "create group: refused", Started: now.Add(-2 * time.Hour), Ended: &ended},
		},
	}
}

// town is a node that answers what it is told to.
type town struct {
	t      *testing.T
	socket string
	asked  []string
	reply  map[string]any // or an *api.Error
}

func newTown(t *testing.T) *town {
	dir, err := os.MkdirTemp("", "ctl")
	if err != nil {
		t.Fatal(err)
	}
	w := &town{t: t, socket: filepath.Join(dir, "s"), reply: answers()}
	l, err := net.Listen("unix", w.socket)
	if err != nil {
		t.Fatal(err)
	}
	srv := &httptest.Server{Listener: l, Config: &http.Server{Handler: w}}
	srv.Start()
	t.Cleanup(func() { srv.Close(); _ = os.RemoveAll(dir) })
	return w
}

func (w *town) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	key := r.Method + " " + strings.TrimPrefix(r.URL.Path, "/api/v1/")
	w.asked = append(w.asked, strings.TrimSpace(r.Method+" "+strings.TrimPrefix(r.URL.RequestURI(), "/api/v1/")+" "+string(body[:min(len(body), 200)])))
	if r.Header.Get("Upgrade") == guests.Protocol {
		nc, buffered, _ := http.NewResponseController(rw).Hijack()
		_, _ = io.WriteString(nc, "HTTP/1.1 101 Switching Protocols\r\n\r\nlogin: ")
		line, _ := buffered.ReadString('\r')
		_, _ = io.WriteString(nc, "hello "+line+"\n")
		_ = nc.Close()
		return
	}
	v, ok := w.reply[key]
	if !ok && r.Method != "GET" {
		v = api.Changed{Changed: true}
	}
	if raw, ok := v.(string); ok {
		_, _ = io.WriteString(rw, raw)
		return
	}
	if e, ok := v.(*api.Error); ok {
		rw.WriteHeader(http.StatusTeapot) // the code inside counts
		v = e
	}
	_ = json.NewEncoder(rw).Encode(v)
}

// do runs the program.
func (w *town) do(in string, env map[string]string, args ...string) (code int, out, errs string) {
	var o, e bytes.Buffer
	p := &program{
		in: strings.NewReader(in), out: &o, err: &e, env: func(k string) string { return env[k] }, now: func() time.Time { return now }, zone: time.UTC,
		terminal: func(*os.File) bool { return false },
	}
	code = p.run(context.Background(), append([]string{"--socket", w.socket}, args...))
	return code, o.String(), e.String()
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *rewrite {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

func TestListings(t *testing.T) {
	for _, list := range []string{"status", "nodes", "groups", "volumes", "vms", "users", "agents", "events", "jobs"} {
		w := newTown(t)
		for name, args := range map[string][]string{"-en": {"--lang", "en"}, "-fr": {"--lang", "fr"}, "-json": {"--json"}} {
			code, out, errs := w.do("", nil, append([]string{list}, args...)...)
			if code != exitOK || errs != "" {
				t.Errorf("%s%s: exit %d, %s", list, name, code, errs)
			}
			golden(t, list+name, out)
		}
	}
}

func TestHelp(t *testing.T) {
	w := newTown(t)
	for name, args := range map[string][]string{
		"help-en": {"help"}, "help-fr": {"--lang", "fr", "help"}, "help-vm-create": {"help", "vm", "create"}, "help-vm": {"vm", "--help"}, "help-agent-create-fr": {"help", "agent", "create", "--lang=fr"}, "help-group-create-fr": {"group", "create", "-h", "--lang=fr"}, "nothing": {},
	} {
		code, out, errs := w.do("", nil, args...)
		if name == "help-vm" { // not a command by itself
			if code != exitUsage {
				t.Errorf("vm --help: exit %d", code)
			}
			continue
		}
		if code != exitOK || errs != "" {
			t.Errorf("%s: exit %d, %s", name, code, errs)
		}
		golden(t, name, out)
	}
	for _, c := range commands {
		if code, out, _ := w.do("", nil, append([]string{"help"}, strings.Fields(c.words)...)...); code != exitOK || c.fr == "" || c.en == "" || !strings.Contains(out, c.words) && c.words != "help" {
			t.Errorf("help %s: exit %d, %q", c.words, code, out)
		}
	}
}

func TestChangesAsk(t *testing.T) {
	for _, tt := range []struct {
		in    string
		args  string
		asked string
		out   string
	}{
		{"", "vm start web", "POST vms/web/start", "VM web will run.\n"},
		{"", "--lang fr vm shutdown web", "POST vms/web/shutdown", "La VM web est priée de s'arrêter.\n"},
		{"", "vm off web --json", "POST vms/web/off", "{\n  \"changed\": true\n}\n"},
		{"", "vm delete web --yes", "DELETE vms/web", "VM web is deleted.\n"},
		{"", "vm delete --keep-disks --yes web", "DELETE vms/web?keep_disks=true", "VM web is deleted.\n"},
		{"", "group switch web b", `POST groups/web/switch {"node":"b"}`, "Group web is handed to node b.\n"},
		{"", "group prefer web b", `POST groups/web/prefer {"node":"b"}`, "Group web prefers node b.\n"},
		{"", "group delete web --yes", "DELETE groups/web", "Group web is deleted.\n"},
		{"", "group delete ../x --yes", "DELETE groups/..%2Fx", "Group ../x is deleted.\n"},
		{"", "job cancel 7", "DELETE jobs/7", "Job 7 is being cancelled.\n"},
		{"", "service none", `PUT service {"group":""}`, "The citizen service is on group none.\n"},
		{"a long password\n", "user set anne --role admin", `PUT users/anne {"role":"admin","password":"a long password"}`, "User anne is set.\n"},
		{"", "user set anne --role viewer --keep-password", `PUT users/anne {"role":"viewer"}`, "User anne is set.\n"},
		{"", "agent close martin --yes", "POST agents/martin/close", "Agent martin is closed.\n"},
		{"", "--lang fr agent close ../x --yes", "POST agents/..%2Fx/close", "L'agent ../x est fermé.\n"},
		{"", "user delete anne --yes", "DELETE users/anne", "User anne is deleted.\n"},
	} {
		w := newTown(t)
		code, out, errs := w.do(tt.in, nil, strings.Fields(tt.args)...)
		if got := strings.Join(w.asked, "; "); code != exitOK || got != tt.asked || out != tt.out {
			t.Errorf("%s: exit %d, asked %q, said %q %s; want %q, %q", tt.args, code, got, out, errs, tt.asked, tt.out)
		}
	}
	w := newTown(t)
	w.reply["POST groups"] = api.Group{Name: "web", Primary: "a"}
	if code, _, errs := w.do("", nil, "group", "create", "web", "--volume", "sys=20G", "--volume", "data=1.5T", "--prefer", "a"); code != exitOK {
		t.Errorf("create: %s", errs)
	}
	if want := `POST groups {"name":"web","prefer":"a","volumes":[{"name":"sys","size_bytes":21474836480},{"name":"data","size_bytes":1649267441664}]}`; w.asked[0] != want {
		t.Errorf("asked %s; want %s", w.asked[0], want)
	}
	w = newTown(t)
	w.reply["POST vms/web/start"] = api.Changed{}
	if _, out, _ := w.do("", nil, "vm", "start", "web"); out != "Nothing to do: it is so already.\n" {
		t.Errorf("without a change: %q", out)
	}
}

func TestExitCodesAndAdvice(t *testing.T) {
	french := map[string]string{"LANG": "fr_FR.UTF-8"}
	for _, tt := range []struct {
		args  string
		env   map[string]string
		reply *api.Error
		code  int
		says  []string
	}{
		{"vms", nil, nil, exitOK, nil},
		{"vm", nil, nil, exitUsage, []string{"there is no command"}},
		{"nonsense", french, nil, exitUsage, []string{"n'existe pas"}},
		{"--nonsense vms", nil, nil, exitUsage, []string{"--nonsense is not known"}},
		{"vms --nonsense", nil, nil, exitUsage, []string{"-nonsense"}},
		{"vm start", nil, nil, exitUsage, []string{"vm start NAME"}},
		{"vm delete web", nil, nil, exitUsage, []string{"--yes", "will be lost"}},
		{"vm delete web", french, nil, exitUsage, []string{"--yes", "seront perdus"}},
		{"group create web", nil, nil, exitUsage, []string{"--volume"}},
		{"group create web --volume x=many", nil, nil, exitUsage, []string{"NAME=SIZE"}},
		{"vm create web", nil, nil, exitUsage, []string{"--image"}},
		{"vm create web --image /nowhere", nil, nil, exitUsage, []string{"/nowhere"}},
		{"vm create web --group g --memory 1000", nil, nil, exitUsage, []string{"whole megabytes"}},
		{"vm create web --group g --nics 5", nil, nil, exitUsage, []string{"0 to 4"}},
		{"vm create web --group g --nics 5", french, nil, exitUsage, []string{"0 à 4"}},
		{"user set anne --role mayor", nil, nil, exitUsage, []string{"operator"}},
		{"user set anne --role admin", nil, nil, exitUsage, []string{"no password"}},
		{"agent create martin", nil, nil, exitUsage, []string{"--display"}},
		{"agent create martin --display x", french, nil, exitUsage, []string{"aucun mot de passe"}},
		{"agent create martin --display x --password-file /nowhere", nil, nil, exitUsage, []string{"/nowhere"}},
		{"agent renew martin", french, nil, exitUsage, []string{"--secret", "nouveau téléphone"}},
		{"agent renew martin --password", nil, nil, exitUsage, []string{"no password was given"}},
		{"agent close martin", french, nil, exitUsage, []string{"--yes", "ne pourra plus se connecter"}},
		{"agent reopen martin", nil, nil, exitUsage, []string{"no password was given"}},
		{"--url http://x vms", nil, nil, exitUsage, []string{"https://HOST:PORT"}},
		{"--url https://x --pin 12 vms", nil, nil, exitUsage, []string{"64 hexadecimal"}},
		{"vms", nil, &api.Error{Code: api.Refused, Message: "no", Hint: "because"}, exitRefused, []string{"beffroictl: no", "→ because"}},
		{"vms", french, &api.Error{Code: api.Refused, Message: "no"}, exitRefused, []string{"les règles de la paire"}},
		{"vms", nil, &api.Error{Code: api.Elsewhere, Message: "not here", Node: "b"}, exitRefused, []string{"ask node b"}},
		{"vms", french, &api.Error{Code: api.Elsewhere, Message: "not here", Node: "b"}, exitRefused, []string{"nœud b"}},
		{"vms", nil, &api.Error{Code: api.Unauthenticated, Message: "who"}, exitRefused, []string{"--token-file"}},
		{"vms", nil, &api.Error{Code: api.Forbidden, Message: "no"}, exitRefused, nil},
		{"vms", nil, &api.Error{Code: api.BadInput, Message: "cpus: use 1 to 64"}, exitRefused, []string{"1 to 64"}},
		{"vms", nil, &api.Error{Code: api.Unavailable, Message: "no vote", Hint: "again"}, exitUnreachable, []string{"→ again"}},
		{"vms", nil, &api.Error{Code: api.Failed, Message: "broken"}, exitFailed, []string{"broken"}},
		{"--socket /nowhere/s vms", nil, nil, exitUnreachable, []string{"/nowhere/s", "--dir"}},
		{"--socket /nowhere/s vms", french, nil, exitUnreachable, []string{"dossier d'état"}},
		{"--url https://127.0.0.1:1 vms", nil, nil, exitUnreachable, []string{"127.0.0.1:1", "the other node"}},
	} {
		w := newTown(t)
		if tt.reply != nil {
			w.reply["GET vms"] = tt.reply
		}
		code, out, errs := w.do("", tt.env, strings.Fields(tt.args)...)
		if code != tt.code {
			t.Errorf("%s: exit %d, want %d (%s)", tt.args, code, tt.code, errs)
		}
		for _, s := range tt.says {
			if !strings.Contains(errs, s) {
				t.Errorf("%s: %q does not say %q", tt.args, errs, s)
			}
		}
		if code != exitOK && out != "" {
			t.Errorf("%s: %q on the standard output", tt.args, out)
		}
	}
}

func TestACertificateIsPinned(t *testing.T) {
	w := newTown(t)
	srv := httptest.NewTLSServer(w)
	defer srv.Close()
	code, _, errs := w.do("", nil, "--url", srv.URL, "vms")
	_, pin, ok := strings.Cut(errs, "--pin ")
	if code != exitUnreachable || !ok {
		t.Fatalf("an unknown certificate: exit %d, %s", code, errs)
	}
	pin = strings.TrimSpace(pin)
	if code, _, errs := w.do("", nil, "--url", srv.URL, "--pin", pin, "vms"); code != exitOK {
		t.Errorf("pinned: exit %d, %s", code, errs)
	}
	other := "00" + pin[2:]
	if code, _, errs := w.do("", nil, "--url", srv.URL, "--pin", other, "vms"); code != exitUnreachable || !strings.Contains(errs, pin) {
		t.Errorf("pinned otherwise: exit %d, %s", code, errs)
	}
}

func TestAnImageIsUploadedAndFollowed(t *testing.T) {
	w := newTown(t)
	file := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(file, []byte("an image"), 0o600); err != nil {
		t.Fatal(err)
	}
	ended := now
	w.reply["POST images"] = api.Job{ID: 7, VM: "web", Phase: api.PhaseCopy}
	w.reply["GET jobs/7"] = api.Job{ID: 7, VM: "web", Phase: api.PhaseDone, Ended: &ended}
	code, out, errs := w.do("", nil, "vm", "create", "web", "--image", file, "--memory", "2G", "--cpus", "2", "--size", "20G", "--nics", "3", "--stopped")
	if code != exitOK || out != "VM web is created.\n" || !strings.Contains(errs, "copy…") {
		t.Errorf("create: exit %d, %q, %q", code, out, errs)
	}
	if want := "POST images?cpus=2&memory_mb=2048&name=web&nics=3&run=false&size_bytes=21474836480 an image"; w.asked[0] != want {
		t.Errorf("asked %q; want %q", w.asked[0], want)
	}
	w.reply["GET jobs/7"] = api.Job{ID: 7, VM: "web", Phase: api.PhaseFailed, Error: "no space", Ended: &ended}
	if code, _, errs := w.do("", nil, "vm", "create", "web", "--image", file); code != exitFailed || !strings.Contains(errs, "no space") {
		t.Errorf("a failed import: exit %d, %q", code, errs)
	}
	if code, out, _ := w.do("", nil, "vm", "create", "web", "--image", file, "--no-wait"); code != exitOK || !strings.Contains(out, "Job 7") {
		t.Errorf("without waiting: exit %d, %q", code, out)
	}
	w.reply["POST images"] = &api.Error{Code: api.BadImage, Message: "not a disk image"}
	if code, _, errs := w.do("", map[string]string{"LANG": "fr_FR"}, "vm", "create", "web", "--image", file); code != exitRefused || !strings.Contains(errs, "rien n'a été créé") {
		t.Errorf("no image: exit %d, %q", code, errs)
	}
}

func TestSerialLines(t *testing.T) {
	w := newTown(t)
	w.reply["GET vms/web/serial"] = "boot\r\nlogin: "
	if code, out, errs := w.do("", nil, "vm", "logs", "web", "--bytes", "99"); code != exitOK || out != "boot\r\nlogin: " || w.asked[0] != "GET vms/web/serial?bytes=99" {
		t.Errorf("logs: exit %d, %q, %s, asked %s", code, out, errs, w.asked)
	}
	if code, out, errs := w.do("root\r", nil, "vm", "serial", "web"); code != exitOK || out != "login: hello root\r\n" {
		t.Errorf("serial: exit %d, %q, %s", code, out, errs)
	}
}

func TestEscapes(t *testing.T) {
	for _, tt := range []struct {
		typed []string
		sent  string
		leave bool
	}{
		{[]string{"~."}, "", true}, {[]string{"ls\r", "~", "."}, "ls\r", true}, {[]string{"a~.b"}, "a~.b", false}, {[]string{"\r~~.\r"}, "\r~.\r", false},
		{[]string{"~x"}, "~x", false}, {[]string{"~\r~."}, "~\r", true}, {[]string{"\n~", "~"}, "\n~", false},
	} {
		e, sent, leave := escape{fresh: true}, "", false
		for _, s := range tt.typed {
			var out []byte
			out, leave = e.filter([]byte(s))
			sent += string(out)
		}
		if sent != tt.sent || leave != tt.leave {
			t.Errorf("%q: sent %q, leave %v; want %q, %v", tt.typed, sent, leave, tt.sent, tt.leave)
		}
	}
}

func TestSizesAndTimes(t *testing.T) {
	p := &program{now: func() time.Time { return now }, zone: time.UTC}
	f := &program{french: true}
	for text, want := range map[string]int64{"1": 1, "4K": 4096, "20G": 20 << 30, "1.5T": 3 << 39, "1,5t": 3 << 39, "512MiB": 512 << 20, "10 Go": 10 << 30, "8kb": 8192, "100 o": 100} {
		if got, err := parseSize(text); got != want || err != nil {
			t.Errorf("parseSize(%q) = %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "G", "-1", "0", "1.5", "x", "1e99", "NaN", "9999999T"} {
		if n, err := parseSize(text); err == nil {
			t.Errorf("parseSize(%q) = %d; want an error", text, n)
		}
	}
	got := fmt.Sprint(p.size(0), "|", p.size(1<<40), "|", p.size(3<<29), "|", f.size(3<<29), "|", p.lasting(59*time.Second), "|", p.lasting(3700*time.Second), "|", f.lasting(50*time.Hour), "|", p.lasting(-1))
	if want := "0 B|1 TiB|1.5 GiB|1,5 Gio|59 s|1 h 1 min|2 j 2 h|0 s"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got, want := p.barLine("copy", 3<<20, 4<<20, 2*time.Second), "copy [######################        ] 75% 3 MiB / 4 MiB, 1.5 MiB/s"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
