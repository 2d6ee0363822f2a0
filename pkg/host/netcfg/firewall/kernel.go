package firewall

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

const tableName = "beffroi"

func table() *nftables.Table {
	return &nftables.Table{Name: tableName, Family: nftables.TableFamilyINet}
}

// Install replaces all our rules by those of c, in one transaction. If it fails
// the old ones stand.
func Install(c Config) error {
	if err := c.Validate(); err != nil {
		return fmt.Errorf("firewall: %w", err)
	}
	counts, err := Drops()
	if err != nil {
		return err
	}
	conn, err := nftables.New()
	if err != nil {
		return fmt.Errorf("firewall: %w", err)
	}
	conn.AddTable(table()) // so that there is one to remove
	conn.DelTable(table())
	t := conn.AddTable(table())
	for _, name := range Counters {
		conn.AddObj(&nftables.NamedObj{Table: t, Name: name, Type: nftables.ObjTypeCounter, Obj: &expr.Counter{Packets: counts[name]}})
	}
	drop := nftables.ChainPolicyDrop
	chain := func(name string, hook *nftables.ChainHook) *nftables.Chain {
		return conn.AddChain(&nftables.Chain{Name: name, Table: t, Type: nftables.ChainTypeFilter,
			Hooknum: hook, Priority: nftables.ChainPriorityFilter, Policy: &drop})
	}
	input, forward := chain("input", nftables.ChainHookInput), chain("forward", nftables.ChainHookForward)
	for _, r := range Rules(c) {
		conn.AddRule(&nftables.Rule{Table: t, Chain: input, Exprs: compile(r)})
	}
	conn.AddRule(&nftables.Rule{Table: t, Chain: forward, Exprs: compile(Rule{Drop: DropForward})})
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("firewall: install: %w", err)
	}
	return nil
}

// Remove takes our rules out; the node is then open.
func Remove() error {
	conn, err := nftables.New()
	if err != nil {
		return fmt.Errorf("firewall: %w", err)
	}
	conn.AddTable(table())
	conn.DelTable(table())
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("firewall: remove: %w", err)
	}
	return nil
}

// Drops counts the dropped packets, by counter. Without an installed firewall it
// is empty.
func Drops() (map[string]uint64, error) {
	conn, err := nftables.New()
	if err != nil {
		return nil, fmt.Errorf("firewall: %w", err)
	}
	counts := map[string]uint64{}
	tables, err := conn.ListTablesOfFamily(nftables.TableFamilyINet)
	if err != nil {
		return nil, fmt.Errorf("firewall: list tables: %w", err)
	}
	for _, t := range tables {
		if t.Name != tableName {
			continue
		}
		objects, err := conn.GetNamedObjects(t)
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return nil, fmt.Errorf("firewall: read counters: %w", err)
		}
		for _, o := range objects {
			if named, ok := o.(*nftables.NamedObj); ok {
				if c, ok := named.Obj.(*expr.Counter); ok {
					counts[named.Name] = c.Packets
				}
			}
		}
	}
	return counts, nil
}

const register = 1

// compile turns a rule into the kernel's expressions.
func compile(r Rule) []expr.Any {
	var e []expr.Any
	if r.In != "" {
		name := make([]byte, unix.IFNAMSIZ)
		copy(name, r.In)
		e = append(e, &expr.Meta{Key: expr.MetaKeyIIFNAME, Register: register}, equal(name))
	}
	e = append(e, address(r.From, 12, 8)...)
	e = append(e, address(r.To, 16, 24)...)
	if r.Proto != "" {
		e = append(e, &expr.Meta{Key: expr.MetaKeyL4PROTO, Register: register}, equal([]byte{protocols[r.Proto]}))
	}
	if r.Port != 0 {
		e = append(e, payload(expr.PayloadBaseTransportHeader, 2, 2), equal(binaryutil.BigEndian.PutUint16(r.Port)))
	}
	if r.Type != 0 {
		e = append(e, payload(expr.PayloadBaseTransportHeader, 0, 1), equal([]byte{byte(r.Type)}))
	}
	if r.Established {
		zero := make([]byte, 4)
		e = append(e, &expr.Ct{Key: expr.CtKeySTATE, Register: register},
			&expr.Bitwise{SourceRegister: register, DestRegister: register, Len: 4, Xor: zero,
				Mask: binaryutil.NativeEndian.PutUint32(expr.CtStateBitESTABLISHED | expr.CtStateBitRELATED)},
			&expr.Cmp{Op: expr.CmpOpNeq, Register: register, Data: zero})
	}
	if r.Drop == "" {
		return append(e, &expr.Verdict{Kind: expr.VerdictAccept})
	}
	return append(e, &expr.Objref{Type: int(nftables.ObjTypeCounter), Name: r.Drop}, &expr.Verdict{Kind: expr.VerdictDrop})
}

var protocols = map[string]byte{"tcp": unix.IPPROTO_TCP, "udp": unix.IPPROTO_UDP, "icmp": unix.IPPROTO_ICMP, "icmpv6": unix.IPPROTO_ICMPV6}

func equal(b []byte) expr.Any {
	return &expr.Cmp{Op: expr.CmpOpEq, Register: register, Data: b}
}

func payload(base expr.PayloadBase, offset, length uint32) expr.Any {
	return &expr.Payload{DestRegister: register, Base: base, Offset: offset, Len: length}
}

// address matches a field of the network header, which lies elsewhere in IPv6.
func address(p netip.Prefix, offset4, offset6 uint32) []expr.Any {
	if !p.IsValid() {
		return nil
	}
	family, offset := byte(unix.NFPROTO_IPV4), offset4
	if p.Addr().Is6() {
		family, offset = unix.NFPROTO_IPV6, offset6
	}
	length := uint32(p.Addr().BitLen() / 8)
	e := []expr.Any{&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: register}, equal([]byte{family}),
		payload(expr.PayloadBaseNetworkHeader, offset, length)}
	if !p.IsSingleIP() {
		mask := make([]byte, length)
		for i := range p.Bits() {
			mask[i/8] |= 0x80 >> (i % 8)
		}
		e = append(e, &expr.Bitwise{SourceRegister: register, DestRegister: register, Len: length, Mask: mask, Xor: make([]byte, length)})
	}
	return append(e, equal(p.Masked().Addr().AsSlice()))
}
