package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"beffroi.dev/appliance/api"
	"beffroi.dev/appliance/config"
	"beffroi.dev/appliance/seed"
	"beffroi.dev/pkg/host/layout"
	"beffroi.dev/pkg/host/netcfg"
	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/cluster"
	"beffroi.dev/pkg/transport"
)

// The lan of a lab of virtual machines. It is inside the lab's daemon; the host
// reaches it through forwards at the addresses of process mode, 127.N.0.x.
const (
	vmLan      = "10.75.0.0/24"
	vmGateway  = "10.75.0.254"
	vmHost     = "10.75.0.253" // stands for the host: the witness runs there
	vmService  = "10.75.0.10"
	vmMAC      = "02:be:ff:00:00:01" // of the service address
	gatewayMAC = "02:be:ff:00:00:fe"
)

// vmDiskBytes is what a node's disk holds beside its store.
const vmDiskBytes = 900 << 20

// vmNode is a node's address on the lan.
func vmNode(i int) string { return fmt.Sprintf("10.75.0.%d", i+1) }

func vmAddr(net, host, port int) string { return fmt.Sprintf("10.75.%d.%d:%d", net, host, port) }

// addVM plans one node of vm mode. What the host does not share with it, it does
// not see: a disk, three cards and a serial line.
func (p *plan) addVM(i int, pair ident.UUID, o options, members []config.Member, witness map[string]string) {
	name, host := names[i], i+1
	n := &config.Node{Version: config.Version, Pair: pair, Self: members[i].ID, Profile: o.profile}
	for j, member := range members {
		switch {
		case j == i:
		case member.Kind == cluster.KindWitness:
			member.VotePaths = []transport.Path{{Name: "lan", Addr: witness[name]}}
		default:
			for f := 1; f <= 2; f++ {
				path := fmt.Sprintf("fibre%d", f)
				member.VotePaths = append(member.VotePaths, transport.Path{Name: path, Addr: vmAddr(f, j+1, 7100+f)})
				member.DataPaths = append(member.DataPaths, transport.Path{Name: path, Addr: vmAddr(f, j+1, 7200+f)})
			}
			member.VotePaths = append(member.VotePaths, transport.Path{Name: "lan", Addr: vmAddr(0, j+1, 7103)})
			member.Citizen = vmAddr(0, j+1, 8080)
		}
		n.Members = append(n.Members, member)
	}
	n.VoteListen = []transport.Path{{Name: "lan", Addr: vmAddr(0, host, 7103)}}
	for f := 1; f <= 2; f++ {
		path := fmt.Sprintf("fibre%d", f)
		n.VoteListen = append(n.VoteListen, transport.Path{Name: path, Addr: vmAddr(f, host, 7100+f)})
		n.DataListen = append(n.DataListen, transport.Path{Name: path, Addr: vmAddr(f, host, 7200+f)})
	}
	n.Citizen = config.Citizen{Listen: vmAddr(0, host, 8080), Service: vmService + ":8080", Town: "Beauval-sur-Marne", FilingEveryMS: 50}
	n.Console = config.Console{Listen: vmAddr(0, host, 8443)}
	p.configs[name] = n
	dir := filepath.Join(o.dir, name)
	m := Machine{
		Name: name, ID: n.Self, Mode: "vm", Dir: dir, Links: []Link{},
		API:     fmt.Sprintf("https://127.%d.0.%d:8443", o.net, host),
		Citizen: fmt.Sprintf("http://127.%d.0.%d:8080", o.net, host),
		Serial:  filepath.Join(dir, "serial.sock"), QMP: filepath.Join(dir, "qmp.sock"),
	}
	p.lab.Console = append(p.lab.Console, m.API)
	p.lab.Nodes = append(p.lab.Nodes, m)
}

// addVMs plans the two nodes as virtual machines, and the witness as a process of
// the host: it runs anywhere and is no part of the image's two servers.
func (p *plan) addVMs(pair ident.UUID, o options, members []config.Member, addr func(int, int) string, port *int) {
	const w = 2 // index of the witness
	target := addr(w+1, 7103)
	n := &config.Node{Version: config.Version, Pair: pair, Self: members[w].ID, Profile: o.profile, VoteListen: []transport.Path{{Name: "lan", Addr: target}}}
	ways := map[string]string{}
	var links []Link
	for i, member := range members {
		if i != w {
			*port++
			member.VotePaths = []transport.Path{{Name: "lan", Addr: addr(i+1, 7103)}}
			// The node dials the host, and the lab's fabric carries it to the witness.
			links = append(links, Link{Path: "lan", From: names[i], To: names[w], Listen: fmt.Sprintf("127.0.0.1:%d", 10000+100*(o.net-80)+*port-9000), Target: target})
			_, number, _ := net.SplitHostPort(links[i].Listen)
			ways[names[i]] = net.JoinHostPort(vmHost, number)
		}
		n.Members = append(n.Members, member)
	}
	for i := range w {
		p.addVM(i, pair, o, members, ways)
	}
	p.configs[names[w]] = n
	p.lab.Nodes = append(p.lab.Nodes, Machine{Name: names[w], ID: n.Self, Mode: "process", Dir: filepath.Join(o.dir, names[w]), Links: links})
}

// forwards are the doors from the host into the lan.
func vmForwards(lab Lab) map[string]string {
	f := map[string]string{}
	for i, m := range lab.Nodes {
		if m.Mode != "vm" {
			continue
		}
		f[strings.TrimPrefix(m.API, "https://")] = vmAddr(0, i+1, 8443)
		f[strings.TrimPrefix(m.Citizen, "http://")] = vmAddr(0, i+1, 8080)
	}
	f[strings.TrimPrefix(lab.Citizen, "http://")] = vmService + ":8080"
	return f
}

// vmNetwork is the node's part of the seed.
func vmNetwork(host int, name string) netcfg.Config {
	at := func(net int) netip.Prefix {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 75, byte(net), byte(host)}), 24)
	}
	return netcfg.Config{
		Lan: netcfg.Lan{
			Port: "#0", Mode: netcfg.ModeStatic, IPv6: netcfg.IPv6Off, Addresses: []netip.Prefix{at(0)},
			Gateway4: netip.MustParseAddr(vmGateway),
		},
		Fibres: []netcfg.Fibre{{Name: "fibre1", Port: "#1", Address: at(1)}, {Name: "fibre2", Port: "#2", Address: at(2)}},
		Service: netcfg.Service{
			Address: netip.MustParsePrefix(vmService + "/24"), VirtualMAC: vmMAC,
		},
		HostName: name,
	}
}

// writeVM makes a node's disk: the image, as dd would write it, on a larger disk,
// with the node's seed in its partition.
func (p *plan) writeVM(m Machine, host int, o options, token, password string) error {
	if err := os.MkdirAll(m.Dir, 0o700); err != nil {
		return fmt.Errorf("make machine folder: %w", err)
	}
	disk := filepath.Join(m.Dir, "disk.raw")
	if err := copySparse(o.image, disk, vmDiskBytes+o.storeSize); err != nil {
		return fmt.Errorf("write the image to node %s's disk (make image builds it): %w", m.Name, err)
	}
	network, err := json.Marshal(vmNetwork(host, m.Name))
	if err != nil {
		return err
	}
	hash, err := api.HashPassword(password)
	if err != nil {
		return err
	}
	b, err := seed.Encode(&seed.Seed{
		Node: p.configs[m.Name], Key: p.keys[m.Name].Seed(), Network: network, Token: token + "\n", Password: password + "\n", Rescue: hash,
	})
	if err != nil {
		return err
	}
	f, err := os.OpenFile(disk, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	image, err := os.Stat(o.image)
	if err != nil {
		return err
	}
	t, err := layout.Read(f, image.Size())
	if err != nil {
		return fmt.Errorf("partitions of %s: %w", o.image, err)
	}
	part, ok := t.Find(layout.TypeSeed)
	if !ok {
		return errors.New("the image has no seed partition")
	}
	if o.blank {
		b = make([]byte, len(b))
	}
	if _, err := f.WriteAt(b, part.Offset()); err != nil {
		return fmt.Errorf("write seed: %w", err)
	}
	return copySparse(ovmfVars, filepath.Join(m.Dir, "vars.fd"), 0)
}

// copySparse copies a file, leaves its runs of zeros out, and extends it to size.
func copySparse(from, to string, size int64) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	buf, zeros := make([]byte, 64<<10), make([]byte, 64<<10)
	off := int64(0)
	for {
		n, err := io.ReadFull(in, buf)
		if n > 0 && string(buf[:n]) != string(zeros[:n]) {
			if _, err := out.WriteAt(buf[:n], off); err != nil {
				return err
			}
		}
		off += int64(n)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return out.Truncate(max(off, size))
		}
		if err != nil {
			return err
		}
	}
}
