package parent

import (
	"context"
	"time"

	"beffroi.dev/appliance/config"
	"beffroi.dev/appliance/control"
	"beffroi.dev/pkg/quorum/cluster"
)

// knowing are the services that know the other members: they read the configuration
// when they start, and a transport's peers are the same for its life.
var knowing = []string{"node", "block", citizen}

// majorityEvery is how often it is asked whether a majority vouches for this node.
const majorityEvery = time.Second

// follow makes the configuration follow the members that are voted: a lost node may
// have been replaced (decision 13). What it writes is durable before a service reads it.
func (k *keeper) follow(ctx context.Context, n *config.Node, restart func(service string)) error {
	if n.Me().Kind == cluster.KindWitness { // it follows by itself
		return nil
	}
	ctl := control.NewClient(k.cfg.Dir.Socket("node"))
	for {
		if n = n.AwaitMembers(ctx, ctl.Watch, k.adopt, k.log); n == nil {
			return nil
		}
		k.log.Info("another machine has taken a lost node's place; the services that know it start again when a majority answers")
		awaitMajority(ctx, ctl)
		for _, name := range knowing {
			restart(name)
		}
	}
}

// awaitMajority waits until a majority vouches for this node. A lone store serves without
// votes, but one that starts anew asks them first (R7): to start it while nobody answers
// would take from the citizens what they have.
func awaitMajority(ctx context.Context, ctl *control.Client) {
	for {
		bound, cancel := context.WithTimeout(ctx, majorityEvery)
		o, err := ctl.Order(bound, 0)
		cancel()
		if err == nil && o.Vouched {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(majorityEvery):
		}
	}
}

// adopt keeps new members. What else the file says may have been written since this
// process read it.
func (k *keeper) adopt(next *config.Node) error {
	now, err := config.Load(k.cfg.Dir)
	if err != nil {
		return err
	}
	now.Members = next.Members
	return config.Save(k.cfg.Dir, now)
}
