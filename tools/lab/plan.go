package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"beffroi.dev/appliance/config"
	"beffroi.dev/pkg/disk"
	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/cluster"
	"beffroi.dev/pkg/transport"
)

// Lab is lab.json: the stable description of a running lab.
type Lab struct {
	Version   int       `json:"version"` // 1
	Mode      string    `json:"mode"`    // process or vm
	Profile   string    `json:"profile"` // of the timing
	Dir       string    `json:"dir"`
	Socket    string    `json:"socket"` // of the lab's own daemon
	Nodes     []Machine `json:"nodes"`
	Citizen   string    `json:"citizen_url"` // the service address
	Console   []string  `json:"console_urls"`
	TokenFile string    `json:"token_file"` // the administrator's token, for the API
	Password  string    `json:"password_file"`

	StoreBytes int64 `json:"store_bytes"`     // of each node's store
	Blank      bool  `json:"blank,omitempty"` // vm mode: the nodes got no seed, a person founds the pair
}

// Machine is one machine of the lab.
type Machine struct {
	Name    string     `json:"name"` // a, b, witness
	ID      ident.Node `json:"id"`
	Mode    string     `json:"mode"`
	Dir     string     `json:"state_dir"`
	API     string     `json:"api_url,omitempty"`
	Citizen string     `json:"citizen_url,omitempty"` // its own address
	NBD     string     `json:"nbd_socket,omitempty"`
	Control string     `json:"control_socket,omitempty"`
	Guests  string     `json:"guests_dir,omitempty"` // NAME/qmp and NAME/serial below it
	Serial  string     `json:"serial_socket,omitempty"`
	QMP     string     `json:"qmp_socket,omitempty"`
	Image   string     `json:"image_sha256,omitempty"` // vm mode: of what was written to its disk
	Links   []Link     `json:"links"`
}

// Link is one way that a machine dials, through the lab's fabric.
type Link struct {
	Path   string `json:"path"`
	From   string `json:"from,omitempty"` // vm mode: who dials, through the host
	To     string `json:"to"`
	Listen string `json:"listen"` // of the fabric
	Target string `json:"target"` // of the machine
}

// names of the machines, and the host part of their address in the lab's net.
var names = []string{"a", "b", "witness"}

// plan is everything that is decided before anything starts.
type plan struct {
	lab     Lab
	configs map[string]*config.Node
	keys    map[string]ed25519.PrivateKey
}

// options of lab up.
type options struct {
	dir       string
	storeSize int64
	profile   string
	net       int
	mode      string
	image     string          // vm mode: what is written to the disks
	blank     bool            // vm mode: no seed; a person founds the pair at the consoles
	anew      bool            // erase the machines that are there
	given     map[string]bool // flags that somebody set
}

// freeNet finds a loopback net 127.N that no lab uses: neither the service address,
// which nobody holds while a lab starts, nor the first link, which its daemon holds.
func freeNet() (int, error) {
	for n := 80; n < 120; n++ {
		if free(fmt.Sprintf("127.%d.0.10:8080", n)) && free(fmt.Sprintf("127.%d.0.100:9001", n)) {
			return n, nil
		}
	}
	return 0, errors.New("no free loopback net from 127.80 to 127.119")
}

// free reports whether nobody listens on an address.
func free(addr string) bool {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return false
	}
	return l.Close() == nil
}

func makePlan(o options) (*plan, error) {
	addr := func(host, port int) string { return fmt.Sprintf("127.%d.0.%d:%d", o.net, host, port) }
	p := &plan{configs: map[string]*config.Node{}, keys: map[string]ed25519.PrivateKey{}}
	p.lab = Lab{
		Version: 1, Mode: o.mode, Profile: o.profile, Dir: o.dir, Socket: filepath.Join(o.dir, "lab.sock"),
		Citizen: "http://" + addr(10, 8080), TokenFile: filepath.Join(o.dir, "token"), Password: filepath.Join(o.dir, "password"),
		StoreBytes: o.storeSize, Blank: o.blank,
	}
	pair := ident.NewUUID()
	ids := map[string]ident.Node{}
	members := make([]config.Member, len(names))
	for i, name := range names {
		pub, key, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return nil, fmt.Errorf("make key: %w", err)
		}
		p.keys[name], ids[name] = key, newID(name)
		m := config.Member{ID: ids[name], Name: name, Kind: cluster.KindNode, Site: []string{"principal", "secours", "témoin"}[i], PublicKey: pub}
		if name == "witness" {
			m.Kind = cluster.KindWitness
		} else {
			m.Replica = ident.NewUUID()
			m.Citizen = addr(i+1, 8080)
		}
		members[i] = m
	}
	port := 9000
	if o.mode == "vm" {
		p.addVMs(pair, o, members, addr, &port)
		return p, nil
	}
	for i, name := range names {
		p.addMachine(i, name, pair, o, members, addr, &port)
	}
	return p, nil
}

// newID makes the witness's identity the highest of the three: of two voters the
// one with the lower identity dials, and nobody has to reach into the nodes' lan.
func newID(name string) ident.Node {
	id := ident.NewNode()
	if name == "witness" {
		return id | 1<<63
	}
	return id &^ (1 << 63)
}

// addMachine plans one machine: its configuration and its links.
func (p *plan) addMachine(i int, name string, pair ident.UUID, o options, members []config.Member, addr func(int, int) string, port *int) {
	dir := config.Dir(filepath.Join(o.dir, name))
	n := &config.Node{Version: config.Version, Pair: pair, Self: members[i].ID, Profile: o.profile}
	m := Machine{Name: name, ID: n.Self, Mode: "process", Dir: string(dir)}
	host := i + 1
	votePorts := map[string]int{"fibre1": 7101, "fibre2": 7102, "lan": 7103}
	dataPorts := map[string]int{"fibre1": 7201, "fibre2": 7202}
	dial := func(to string, path string, target string) transport.Path {
		*port++
		l := Link{Path: path, To: to, Listen: addr(100, *port), Target: target}
		m.Links = append(m.Links, l)
		return transport.Path{Name: path, Addr: l.Listen}
	}
	for j, other := range names {
		member := members[j]
		if j != i {
			paths := []string{"lan"}
			if member.Kind == cluster.KindNode && members[i].Kind == cluster.KindNode {
				paths = []string{"fibre1", "fibre2", "lan"}
				for _, path := range []string{"fibre1", "fibre2"} {
					member.DataPaths = append(member.DataPaths, dial(other, path, addr(j+1, dataPorts[path])))
				}
			}
			for _, path := range paths {
				member.VotePaths = append(member.VotePaths, dial(other, path, addr(j+1, votePorts[path])))
			}
		}
		n.Members = append(n.Members, member)
	}
	n.VoteListen = []transport.Path{{Name: "lan", Addr: addr(host, 7103)}}
	if members[i].Kind == cluster.KindNode {
		for _, path := range []string{"fibre1", "fibre2"} {
			n.VoteListen = append(n.VoteListen, transport.Path{Name: path, Addr: addr(host, votePorts[path])})
			n.DataListen = append(n.DataListen, transport.Path{Name: path, Addr: addr(host, dataPorts[path])})
		}
		n.Store = config.Store{Path: filepath.Join(string(dir), "store"), LabDisk: true}
		n.Citizen = config.Citizen{Listen: addr(host, 8080), Service: addr(10, 8080), Town: "Beauval-sur-Marne", FilingEveryMS: 50}
		n.Console = config.Console{Listen: addr(host, 8443)}
		m.API, m.Citizen = "https://"+addr(host, 8443), "http://"+addr(host, 8080)
		m.NBD, m.Control, m.Guests = dir.Socket("nbd"), dir.Socket("node"), dir.Guests()
		p.lab.Console = append(p.lab.Console, m.API)
	}
	p.configs[name] = n
	p.lab.Nodes = append(p.lab.Nodes, m)
}

// write makes the state folders: keys, configurations, blank stores.
func (p *plan) write(o options) error {
	token, password := secret(32), secret(9)
	for _, f := range []struct{ path, text string }{{p.lab.TokenFile, token}, {p.lab.Password, password}} {
		if err := os.WriteFile(f.path, []byte(f.text+"\n"), 0o600); err != nil {
			return fmt.Errorf("write secret: %w", err)
		}
	}
	sum := ""
	if p.lab.Mode == "vm" {
		var err error
		if sum, err = sumFile(o.image); err != nil {
			return fmt.Errorf("image (make image builds it): %w", err)
		}
	}
	for i, m := range p.lab.Nodes {
		if m.Mode == "vm" {
			p.lab.Nodes[i].Image = sum
			if err := p.writeVM(m, i+1, o, token, password); err != nil {
				return err
			}
			continue
		}
		d := config.Dir(m.Dir)
		for _, dir := range []string{d.Run(), d.Vote(), d.Logs(), d.Guests(), d.Uploads()} {
			if err := os.MkdirAll(dir, 0o700); err != nil {
				return fmt.Errorf("make state folder: %w", err)
			}
		}
		if err := os.WriteFile(d.Key(), p.keys[m.Name].Seed(), 0o600); err != nil {
			return fmt.Errorf("write key: %w", err)
		}
		if err := os.WriteFile(d.Token(), []byte(token+"\n"), 0o600); err != nil {
			return fmt.Errorf("write token: %w", err)
		}
		if err := os.WriteFile(filepath.Join(m.Dir, "admin-password"), []byte(password+"\n"), 0o600); err != nil {
			return fmt.Errorf("write the first password: %w", err)
		}
		n := p.configs[m.Name]
		if n.Store.Path != "" {
			if err := disk.CreateFile(n.Store.Path, o.storeSize); err != nil {
				return err
			}
		}
		if err := config.Save(d, n); err != nil {
			return err
		}
	}
	return p.lab.save()
}

func secret(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return hex.EncodeToString(b)
}

func (l Lab) save() error {
	b, err := json.MarshalIndent(l, "", "  ")
	if err != nil {
		return fmt.Errorf("write lab.json: %w", err)
	}
	return os.WriteFile(filepath.Join(l.Dir, "lab.json"), append(b, '\n'), 0o600)
}

func loadLab(dir string) (Lab, error) {
	var l Lab
	b, err := os.ReadFile(filepath.Join(dir, "lab.json"))
	if err != nil {
		return l, fmt.Errorf("no lab in %s (start one with: %s up): %w", dir, program(Lab{Dir: dir}), err)
	}
	if err := json.Unmarshal(b, &l); err != nil {
		return l, fmt.Errorf("lab.json: %w", err)
	}
	return l, nil
}

func (l Lab) machine(name string) (Machine, error) {
	for _, m := range l.Nodes {
		if m.Name == name {
			return m, nil
		}
	}
	return Machine{}, fmt.Errorf("node %q: use a, b or witness", name)
}
