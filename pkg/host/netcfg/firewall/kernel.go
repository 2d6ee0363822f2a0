package firewall

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

const tableName = "beffroi"

// families are those in which we have a table.
var families = []nftables.TableFamily{nftables.TableFamilyINet, nftables.TableFamilyBridge}

func table(f nftables.TableFamily) *nftables.Table {
	return &nftables.Table{Name: tableName, Family: f}
}

// counters are those that a table's rules count with.
func counters(f nftables.TableFamily) []string {
	if f == nftables.TableFamilyBridge {
		return []string{DropForged}
	}
	return slices.DeleteFunc(slices.Clone(Counters), func(name string) bool { return name == DropForged })
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
	tables := map[nftables.TableFamily]*nftables.Table{}
	for _, f := range families {
		conn.AddTable(table(f)) // so that there is one to remove
		conn.DelTable(table(f))
		t := conn.AddTable(table(f))
		for _, name := range counters(f) {
			conn.AddObj(&nftables.NamedObj{Table: t, Name: name, Type: nftables.ObjTypeCounter, Obj: &expr.Counter{Packets: counts[name]}})
		}
		tables[f] = t
	}
	chain := func(f nftables.TableFamily, name string, hook *nftables.ChainHook, policy nftables.ChainPolicy, rules []Rule) {
		ch := conn.AddChain(&nftables.Chain{Name: name, Table: tables[f], Type: nftables.ChainTypeFilter,
			Hooknum: hook, Priority: nftables.ChainPriorityFilter, Policy: &policy})
		for _, r := range rules {
			conn.AddRule(&nftables.Rule{Table: tables[f], Chain: ch, Exprs: compile(r)})
		}
	}
	const inet, bridge = nftables.TableFamilyINet, nftables.TableFamilyBridge
	chain(inet, "input", nftables.ChainHookInput, nftables.ChainPolicyDrop, Rules(c))
	chain(inet, "forward", nftables.ChainHookForward, nftables.ChainPolicyDrop, []Rule{{Drop: DropForward}})
	toNode, passing := BridgeRules(c)
	chain(bridge, "input", nftables.ChainHookInput, nftables.ChainPolicyAccept, toNode)
	chain(bridge, "forward", nftables.ChainHookForward, nftables.ChainPolicyAccept, passing)
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
	for _, f := range families {
		conn.AddTable(table(f))
		conn.DelTable(table(f))
	}
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
	var tables []*nftables.Table
	for _, f := range families {
		list, err := conn.ListTablesOfFamily(f)
		if err != nil {
			return nil, fmt.Errorf("firewall: list tables: %w", err)
		}
		tables = append(tables, list...)
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
	if r.NotIn != "" {
		name := make([]byte, unix.IFNAMSIZ)
		copy(name, r.NotIn)
		e = append(e, &expr.Meta{Key: expr.MetaKeyIIFNAME, Register: register}, different(name))
	}
	if b, _ := sourceBytes(r.Source); len(b) > 0 { // Validate has read it
		e = append(e, payload(expr.PayloadBaseLLHeader, 6, uint32(len(b))), equal(b))
	}
	if b, _ := sourceBytes(r.NotSource); len(b) > 0 {
		e = append(e, payload(expr.PayloadBaseLLHeader, 6, uint32(len(b))), different(b))
	}
	if r.Guest {
		e = append(e, &expr.Meta{Key: expr.MetaKeyMARK, Register: register}, equal(binaryutil.NativeEndian.PutUint32(guestMark)))
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
	if r.Mark {
		return append(e, &expr.Immediate{Register: register, Data: binaryutil.NativeEndian.PutUint32(guestMark)},
			&expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: register})
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

func different(b []byte) expr.Any {
	return &expr.Cmp{Op: expr.CmpOpNeq, Register: register, Data: b}
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
