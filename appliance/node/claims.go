package node

import (
	"beffroi.dev/pkg/clock"
	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/lease"
)

// claims remembers under which generations guests may run here, and forgets
// them when the fence passes. It is pure; every call first looks at the time, so
// that nothing that happens after a freeze comes before its consequences.
type claims struct {
	fence   *lease.Fence
	held    map[ident.VM]uint64
	met     map[ident.VM]bool // was adopted, claimed or fenced before: not to be adopted
	exposed []ident.VM        // what the fence applies to
	fences  uint64            // how often it has passed
	passed  bool
}

// newClaims begins with the fence of a former life.
func newClaims(f *lease.Fence, now clock.Instant) *claims {
	return &claims{fence: f, held: map[ident.VM]uint64{}, met: map[ident.VM]bool{}, passed: f.Passed(now)}
}

// look lets the fence pass, if it has.
func (c *claims) look(now clock.Instant) {
	passed := c.fence.Passed(now)
	if passed && !c.passed {
		c.fences++
	}
	if passed {
		for _, id := range c.exposed {
			delete(c.held, id)
			c.met[id] = true
		}
	}
	c.passed = passed
}

// renew takes the newest vouched instant and what is exposed from now on.
func (c *claims) renew(now, vouched clock.Instant, ever bool, exposed []ident.VM) {
	c.look(now)
	if ever {
		c.fence.Renew(vouched)
	}
	c.exposed = exposed
	c.look(now)
}

// obtained takes a generation that a proposal of this node was given; since is
// the count of fences when it was proposed.
func (c *claims) obtained(now clock.Instant, id ident.VM, generation, since uint64) {
	c.look(now)
	if c.fences == since && generation > c.held[id] {
		c.held[id], c.met[id] = generation, true
	}
}

// found takes a guest that runs under a generation. The first time, it is
// adopted, unless the fence has passed for it: then it ought to be dead.
func (c *claims) found(now clock.Instant, id ident.VM, generation uint64, exposed bool) {
	c.look(now)
	if !c.met[id] && (!c.passed || !exposed) {
		c.held[id] = generation
	}
	c.met[id] = true
}
