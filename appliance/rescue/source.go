package rescue

import (
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"beffroi.dev/appliance/config"
	"beffroi.dev/appliance/control"
	"beffroi.dev/appliance/operator"
	"beffroi.dev/appliance/status"
	"beffroi.dev/pkg/quorum/cluster"
)

// Bounds of what is read from files that others write.
const (
	maxBootTable = 1 << 20
	maxPhases    = 100
	maxPorts     = 12
	maxServices  = 30
	statusBound  = 1500 * time.Millisecond
)

// System is the Source of a real node: its node service, its state folder, its
// kernel. It keeps the last answer of the node service, so that what was known is
// still shown when it dies.
type System struct {
	Dir      config.Dir
	BootFile string // empty: run/boot.json of Dir
	Version  string
	// Password is the file with the hash of the shell's password.
	Password string
	// Operator asks init; nil: this machine has none of ours.
	Operator *operator.Client
	// Gone tells whether there is no init any more; nil: this machine has none of ours.
	Gone func() bool

	client *control.Client
	last   Pair
}

// Snapshot reads everything; not for concurrent use.
func (s *System) Snapshot(ctx context.Context) Snapshot {
	out := Snapshot{Host: s.host(), Boot: s.boot(), Logs: s.logs()}
	if out.Watchdog = watchdogOf(out.Boot); !out.Watchdog.Known {
		out.Watchdog = foundWatchdog()
	}
	out.NoInit = s.Gone != nil && s.Gone()
	if _, err := passwordHash(s.Password); err != nil {
		out.NoShell = err
	}
	node, err := config.Load(s.Dir)
	out.Net = s.net(err == nil)
	switch {
	case err == nil:
		out.Pairing = Pairing{Known: true, Paired: true}
		out.Net.Service = node.Citizen.Service
		out.Pair = s.pair(ctx)
	case errors.Is(err, fs.ErrNotExist):
		out.Pairing = Pairing{Known: true}
	default:
		out.Pairing.Err, out.Pair.Err = err, err
	}
	if node != nil {
		out.Pair.Self = cmp.Or(out.Pair.Self, node.Me().Name)
		out.Pair.Site = cmp.Or(out.Pair.Site, node.Me().Site)
		out.Services = []string{"node", "block", "vm", "citizen", "console"}
		if node.Me().Kind == cluster.KindWitness {
			out.Services = []string{"witness"}
		}
	}
	if s.Operator != nil {
		bound, cancel := context.WithTimeout(ctx, statusBound)
		out.Operator, out.OperatorErr = s.Operator.State(bound)
		cancel()
	}
	list, _ := status.LoadServices(s.Dir.Services()) // by hand there is no init that says
	for _, v := range list {
		if mb, ok := v.Recovering(); ok {
			out.Recovers = &mb
		}
		if v.Failing() {
			out.Troubled = append(out.Troubled, Service{Name: v.Name, State: v.State, Down: v.Down(), Failures: v.Failures, Words: cmp.Or(v.Last, v.Said)})
		}
	}
	out.At = time.Now()
	return out
}

func (s *System) pair(ctx context.Context) Pair {
	if s.client == nil {
		s.client = control.NewClient(s.Dir.Socket("node"))
	}
	ctx, cancel := context.WithTimeout(ctx, statusBound)
	defer cancel()
	n, err := s.client.Status(ctx)
	if err != nil {
		s.last.Err = err
		return s.last
	}
	s.last = fromStatus(&n)
	return s.last
}

func (s *System) host() Host {
	h := Host{ReleaseVersion: s.Version}
	var errs []error
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		errs = append(errs, fmt.Errorf("uname: %w", err))
	} else {
		h.Name, h.Kernel = unix.ByteSliceToString(u.Nodename[:]), unix.ByteSliceToString(u.Release[:])
	}
	var seconds float64
	if b, err := os.ReadFile("/proc/uptime"); err != nil {
		errs = append(errs, err)
	} else if _, err := fmt.Sscan(string(b), &seconds); err == nil {
		h.Uptime = time.Duration(seconds * float64(time.Second))
	}
	if b, err := os.ReadFile("/proc/meminfo"); err != nil {
		errs = append(errs, err)
	} else {
		h.MemoryBytes, h.MemoryFree = memory(string(b))
	}
	var f unix.Statfs_t
	if err := unix.Statfs(string(s.Dir), &f); err != nil {
		errs = append(errs, fmt.Errorf("state folder: %w", err))
	} else {
		h.StateBytes, h.StateFree = int64(f.Blocks)*f.Bsize, int64(f.Bavail)*f.Bsize
	}
	h.Err = errors.Join(errs...)
	return h
}

// memory reads the kernel's table.
func memory(table string) (whole, free int64) {
	for l := range strings.Lines(table) {
		name, rest, _ := strings.Cut(l, ":")
		var kb int64
		if _, err := fmt.Sscan(rest, &kb); err != nil {
			continue
		}
		switch name {
		case "MemTotal":
			whole = kb << 10
		case "MemAvailable":
			free = kb << 10
		}
	}
	return whole, free
}

// boot reads the table of phases that init writes.
func (s *System) boot() (b Boot) {
	f, err := os.Open(cmp.Or(s.BootFile, filepath.Join(s.Dir.Run(), "boot.json")))
	if err != nil {
		b.Err = err
		return b
	}
	defer f.Close()
	var table struct {
		Version string
		Phases  []Phase
		Trial   *Trial
		Ending  *Ending

		Watchdog *ArmedWatchdog
	}
	if err := json.NewDecoder(io.LimitReader(f, maxBootTable)).Decode(&table); err != nil {
		b.Err = fmt.Errorf("table of the boot: %w", err)
		return b
	}
	b.Version, b.Phases = table.Version, table.Phases[:min(len(table.Phases), maxPhases)]
	b.Trial, b.Ending, b.Watchdog = table.Trial, table.Ending, table.Watchdog
	return b
}

// cardOfLan is the card behind the lan's bridge.
const cardOfLan = "lan-card"

// role is what a link is for, by the mark that init gave it (pkg/host/netcfg); a link
// without one keeps its name.
func role(link string) string {
	b, _ := os.ReadFile(filepath.Join("/sys/class/net", link, "ifalias")) // gone: no mark
	switch mark := strings.TrimSpace(string(b)); mark {
	case "beffroi:bridge", "beffroi:vlan":
		return "lan"
	case "beffroi:lan":
		return cardOfLan
	case "beffroi:fibre1", "beffroi:fibre2":
		return strings.TrimPrefix(mark, "beffroi:")
	}
	return link
}

// net lists the ports, those with a role first.
func (s *System) net(paired bool) (n Net) {
	all, err := net.Interfaces()
	if err != nil {
		n.Err = err
		return n
	}
	for _, i := range all {
		if i.Flags&net.FlagLoopback != 0 {
			continue
		}
		p := Port{Name: role(i.Name), Up: i.Flags&net.FlagRunning != 0}
		var local []netip.Prefix
		addresses, _ := i.Addrs() // of a port that has just gone: none
		for _, a := range addresses {
			x, err := netip.ParsePrefix(a.String())
			if err == nil && !x.Addr().IsLinkLocalUnicast() {
				p.Addresses = append(p.Addresses, x)
			} else if err == nil {
				local = append(local, x)
			}
		}
		if len(p.Addresses) == 0 && !paired { // a node without a pair is met there
			p.Addresses = local
		}
		// What has neither a cable nor an address is the kernel's own affair.
		if p.Name == cardOfLan { // the bridge speaks for it
			continue
		}
		if len(p.Addresses) > 0 || !notThere(filepath.Join("/sys/class/net", i.Name, "device")) {
			n.Ports = append(n.Ports, p)
		}
	}
	slices.SortStableFunc(n.Ports, func(a, b Port) int { return cmp.Compare(order(a.Name), order(b.Name)) })
	n.Ports = n.Ports[:min(len(n.Ports), maxPorts)]
	n.Gateway, n.Gateway6 = gateway(), gateway6()
	n.Cards = s.cards()
	return n
}

// cards are those that init has found to play a role; by hand there is no init that looks.
func (s *System) cards() (all []Card) {
	list, _ := status.LoadCables(s.Dir.Cables())
	for _, c := range list {
		if c.Role != "" {
			all = append(all, Card{Role: c.Role, Name: c.Card, From: c.From, Twin: c.Twin})
		}
	}
	slices.SortStableFunc(all, func(a, b Card) int { return cmp.Compare(order(a.Role), order(b.Role)) })
	return all[:min(len(all), maxPorts)]
}

// order is that of the roles on the screen.
func order(role string) int {
	if i := slices.Index([]string{"lan", "fibre1", "fibre2"}, role); i >= 0 {
		return i
	}
	return 9
}

// watchdogOf is the one that init says it has armed. That of a controller that speaks
// IPMI is shown by none of the kernel's files.
func watchdogOf(b Boot) Watchdog {
	if b.Watchdog == nil {
		return Watchdog{}
	}
	return Watchdog{Known: true, Armed: true, Driver: b.Watchdog.Driver, Timeout: time.Duration(b.Watchdog.Seconds * float64(time.Second))}
}

// foundWatchdog is the first one that the kernel's files show.
func foundWatchdog() Watchdog {
	read := func(name string) string {
		b, _ := os.ReadFile("/sys/class/watchdog/watchdog0/" + name) // none: empty
		return strings.TrimSpace(string(b))
	}
	state := read("state")
	if state == "" {
		return Watchdog{Known: notThere("/sys/class/watchdog/watchdog0")}
	}
	seconds, _ := strconv.Atoi(read("timeout"))
	return Watchdog{Known: true, Armed: state == "active", Driver: read("identity"), Timeout: time.Duration(seconds) * time.Second}
}

func notThere(path string) bool {
	_, err := os.Stat(path)
	return errors.Is(err, fs.ErrNotExist)
}

// gateway is the kernel's default route, IPv4.
func gateway() netip.Addr {
	b, _ := os.ReadFile("/proc/net/route") // none: not known
	for l := range strings.Lines(string(b)) {
		f := strings.Fields(l)
		var hop uint32
		if len(f) < 3 || f[1] != "00000000" {
			continue
		}
		if _, err := fmt.Sscanf(f[2], "%x", &hop); err == nil && hop != 0 { // in the byte order of this machine
			return netip.AddrFrom4([4]byte{byte(hop), byte(hop >> 8), byte(hop >> 16), byte(hop >> 24)})
		}
	}
	return netip.Addr{}
}

// gateway6 is the kernel's default route, IPv6: the first of its table, which has the
// best ones first.
func gateway6() netip.Addr {
	b, _ := os.ReadFile("/proc/net/ipv6_route") // none: not known
	return defaultOf(string(b))
}

func defaultOf(table string) netip.Addr {
	for l := range strings.Lines(table) {
		f := strings.Fields(l)
		if len(f) < 5 || strings.Trim(f[0], "0") != "" || f[1] != "00" {
			continue
		}
		var hop [16]byte
		if n, err := hex.Decode(hop[:], []byte(f[4][:min(len(f[4]), 32)])); err == nil && n == 16 && hop != [16]byte{} {
			return netip.AddrFrom16(hop)
		}
	}
	return netip.Addr{}
}

// logs are the services that have one, and init itself.
func (s *System) logs() (all []string) {
	if _, err := os.Stat(initLog); err == nil {
		all = append(all, "init")
	}
	files, _ := filepath.Glob(filepath.Join(s.Dir.Logs(), "*.log")) // only a bad pattern fails
	for _, f := range files[:min(len(files), maxServices)] {
		all = append(all, strings.TrimSuffix(filepath.Base(f), ".log"))
	}
	return all
}
