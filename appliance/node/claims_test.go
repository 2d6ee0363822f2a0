package node

import (
	"testing"
	"time"

	"beffroi.dev/pkg/clock"
	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/lease"
)

// Lab: the fence passes 3 s after the vouched instant. Times are milliseconds.
func ms(n int) clock.Instant { return clock.Instant(time.Duration(n) * time.Millisecond) }

func TestUnderWhichGenerationsGuestsMayRun(t *testing.T) {
	const vm = ident.VM(1)
	out := []ident.VM{vm}
	for _, tt := range []struct {
		name string
		kept int // vouched instant of a former life; -1: none
		do   func(c *claims)
		want uint64 // 0: none
	}{
		{"what a proposal obtained", 0, func(c *claims) { c.obtained(ms(100), vm, 5, c.fences) }, 5},
		{"an older answer that comes late changes nothing", 0, func(c *claims) { c.obtained(ms(100), vm, 5, 0); c.obtained(ms(101), vm, 4, 0) }, 5},
		{"a guest found alive in time is adopted", 0, func(c *claims) { c.found(ms(100), vm, 3, true) }, 3},
		{"one found after the fence of the former life is not", 0, func(c *claims) { c.found(ms(3000), vm, 3, true) }, 0},
		{"one found without any former life is not", -1, func(c *claims) { c.found(ms(100), vm, 3, true) }, 0},
		{"one without another home is, always", -1, func(c *claims) { c.found(ms(9000), vm, 3, false) }, 3},
		{"being vouched for again does not adopt it the second time", -1, func(c *claims) {
			c.found(ms(100), vm, 3, true)
			c.renew(ms(200), ms(200), true, out)
			c.found(ms(300), vm, 3, true)
		}, 0},
		{"the fence takes what is exposed", 0, func(c *claims) {
			c.renew(ms(10), ms(10), true, out)
			c.found(ms(20), vm, 3, true)
			c.look(ms(3010))
		}, 0},
		{"and nothing else", 0, func(c *claims) {
			c.renew(ms(10), ms(10), true, nil)
			c.found(ms(20), vm, 3, false)
			c.look(ms(3010))
		}, 3},
		{"a renewal after a freeze does not excuse what passed before", 0, func(c *claims) {
			c.renew(ms(10), ms(10), true, out)
			c.found(ms(20), vm, 3, true)
			c.renew(ms(40000), ms(39990), true, out)
			c.found(ms(40010), vm, 3, true)
		}, 0},
		{"an answer that a fence overtook does not count", 0, func(c *claims) {
			c.renew(ms(10), ms(10), true, out)
			since := c.fences
			c.renew(ms(40000), ms(39990), true, out)
			c.obtained(ms(40010), vm, 5, since)
		}, 0},
		{"nor one that arrives before the loop has seen it pass", 0, func(c *claims) {
			c.renew(ms(10), ms(10), true, out)
			c.obtained(ms(40010), vm, 5, c.fences)
		}, 0},
		{"a new claim after the fence counts", 0, func(c *claims) {
			c.renew(ms(10), ms(10), true, out)
			c.renew(ms(40000), ms(39990), true, out)
			c.obtained(ms(40010), vm, 6, c.fences)
		}, 6},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := lease.NewFence(lease.Lab())
			if tt.kept >= 0 {
				f.Renew(ms(tt.kept))
			}
			c := newClaims(f, 0)
			tt.do(c)
			if got := c.held[vm]; got != tt.want {
				t.Errorf("generation %d; want %d", got, tt.want)
			}
		})
	}
}
