package probe

import (
	"fmt"
	"maps"
	"testing"
	"time"
)

// cabling is two nodes, the cards of each by role, and the cables between them.
type cabling struct {
	roles  [2][]Role // of card 0, 1, ... of node 1 and node 2
	cables [][4]int  // node, card, node, card; nodes are 0 and 1
	lan    [][2]int  // node, card: also in the town's switch
}

// reports are what both nodes see.
func (c cabling) reports() [2][]Report {
	now := time.Unix(1000, 0)
	var cores [2]core
	for n := range cores {
		cores[n] = core{pair: ourPair, node: uint64(n + 1), interval: time.Second}
		for i, r := range c.roles[n] {
			cores[n].ports = append(cores[n].ports, &port{Port: Port{Card: fmt.Sprintf("eth%d", i), MAC: mac(byte(16*n + i)), Role: r}})
		}
	}
	lit := map[*port]bool{}
	join := func(a, b [2]int) {
		for _, d := range [][2][2]int{{a, b}, {b, a}} {
			from, to := cores[d[0][0]].ports[d[0][1]], cores[d[1][0]].ports[d[1][1]]
			cores[d[1][0]].receive(now, to, frame{kind: hello, role: from.Role, pair: ourPair, node: uint64(d[0][0] + 1)}, from.MAC)
			lit[to] = true
		}
	}
	for _, k := range c.cables {
		join([2]int{k[0], k[1]}, [2]int{k[2], k[3]})
	}
	for i, a := range c.lan {
		for _, b := range c.lan[i+1:] {
			join(a, b)
		}
	}
	var out [2][]Report
	for n := range cores {
		for _, p := range cores[n].ports {
			out[n] = append(out[n], cores[n].judge(p, lit[p]))
		}
	}
	return out
}

func TestAFibreIsFollowedOnlyWhereItCertainlyIs(t *testing.T) {
	usual := []Role{Lan, Fibre1, Fibre2, None}
	both := [2][]Role{usual, usual}
	found := func(s ...string) map[string]string {
		m := map[string]string{}
		for i := 0; i < len(s); i += 2 {
			m[s[i]] = s[i+1]
		}
		return m
	}
	for _, tc := range []struct {
		name       string
		is         cabling
		want1, two map[string]string
	}{
		{"as configured", cabling{roles: both, cables: [][4]int{{0, 1, 1, 1}, {0, 2, 1, 2}}}, found(), found()},
		{"no cable", cabling{roles: both}, found(), found()},
		{"in a card without a role, here", cabling{roles: both, cables: [][4]int{{0, 3, 1, 1}, {0, 2, 1, 2}}}, found("fibre1", "eth3"), found()},
		{"in a card without a role, there", cabling{roles: both, cables: [][4]int{{0, 1, 1, 3}}}, found(), found("fibre1", "eth3")},
		{"a fibre that has no card yet", cabling{roles: [2][]Role{{Lan, Fibre1, None}, usual}, cables: [][4]int{{0, 2, 1, 2}}}, found("fibre2", "eth2"), found()},
		{"crossed: the second node follows both", cabling{roles: both, cables: [][4]int{{0, 1, 1, 2}, {0, 2, 1, 1}}}, found(), found("fibre1", "eth2", "fibre2", "eth1")},
		{"crossed, and one is dark", cabling{roles: both, cables: [][4]int{{0, 1, 1, 2}}}, found(), found("fibre1", "eth2")},
		{"a second cable beside one that is right", cabling{roles: both, cables: [][4]int{{0, 1, 1, 1}, {0, 3, 1, 3}}}, found(), found()},
		{"each fibre1 ends in the other's spare card", cabling{roles: both, cables: [][4]int{{0, 1, 1, 3}, {0, 3, 1, 1}}}, found(), found("fibre1", "eth3")},
		{"two spare cards joined: no fibre, says either", cabling{roles: both, cables: [][4]int{{0, 3, 1, 3}}}, found(), found()},
		{"in the town's switch", cabling{roles: both, lan: [][2]int{{0, 0}, {1, 0}, {0, 1}, {1, 3}}}, found(), found()},
		{"in a switch of its own, on three cards", cabling{roles: both, lan: [][2]int{{0, 1}, {1, 3}, {1, 2}}}, found(), found()},
		{"the lan's card at a fibre's end", cabling{roles: both, cables: [][4]int{{0, 0, 1, 1}}}, found(), found()},
	} {
		r := tc.is.reports()
		for n, want := range []map[string]string{tc.want1, tc.two} {
			if got := Found(uint64(n+1), r[n]); !maps.Equal(got, want) {
				t.Errorf("%s: node %d found %v; want %v (%+v)", tc.name, n+1, got, want, r[n])
			}
		}
	}
}

// However the cables are, the nodes come to rest when each follows what it finds, and a
// fibre that was right is never touched.
func TestFollowingEndsForEveryCabling(t *testing.T) {
	for mask := range 5 * 5 * 5 { // where the first node's cards 1, 2 and 3 lead: nowhere or to card 1, 2, 3; 4: as 0
		var c cabling
		used := map[int]bool{}
		for i, m := 1, mask; i <= 3; i, m = i+1, m/5 {
			if to := m % 5; to >= 1 && to <= 3 && !used[to] {
				used[to] = true
				c.cables = append(c.cables, [4]int{0, i, 1, to})
			}
		}
		c.roles = [2][]Role{{Lan, Fibre1, Fibre2, None}, {Lan, Fibre1, Fibre2, None}}
		moves := 0
		for ; moves < 10; moves++ {
			r := c.reports()
			var next [2][]Role
			for n := range next {
				next[n] = follow(c.roles[n], Found(uint64(n+1), r[n]))
			}
			if fmt.Sprint(next) == fmt.Sprint(c.roles) {
				break
			}
			for n := range next {
				for i, role := range c.roles[n] {
					if r[n][i].PeerRole == role.String() && role.fibre() && next[n][i] != role {
						t.Errorf("cables %v: node %d gave up %v, which was right", c.cables, n+1, role)
					}
				}
			}
			c.roles = next
		}
		if moves > 3 {
			t.Errorf("cables %v: still moving after %d rounds: %v", c.cables, moves, c.roles)
		}
	}
}

// follow gives found fibres their cards; who had one takes what is left behind.
func follow(roles []Role, found map[string]string) []Role {
	next := append([]Role(nil), roles...)
	for i := range next {
		if _, moves := found[next[i].String()]; moves {
			next[i] = None
		}
	}
	for role, card := range found {
		var to int
		if _, err := fmt.Sscanf(card, "eth%d", &to); err != nil {
			panic(err)
		}
		if g := next[to]; g.fibre() {
			for i, r := range roles {
				if r == RoleOf(role) {
					next[i] = g
				}
			}
		}
		next[to] = RoleOf(role)
	}
	return next
}
