package pairing

import (
	"context"
	"crypto/ed25519"
	"slices"
	"time"
)

// Deliver tells a founded founder's members until all know; seen says that one is
// known to be founded by other means.
func (e *Engine) Deliver(ctx context.Context, seen func(Contact) bool) error {
	return e.settleLoop(ctx, seen)
}

// settleLoop ends what this founder has begun, until nothing is left.
func (e *Engine) settleLoop(ctx context.Context, seen func(Contact) bool) error {
	for ctx.Err() == nil {
		if !e.working() {
			e.settle(ctx, seen)
			if e.isFounded() {
				e.end()
				if r, err := e.folder.Record(); err == nil && r == nil {
					return nil
				}
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(settleEvery):
		}
	}
	return nil
}

func (e *Engine) settle(ctx context.Context, seen func(Contact) bool) {
	e.journal.Lock()
	defer e.journal.Unlock()
	r, err := e.folder.Record()
	if err != nil || r == nil {
		return
	}
	links := make([]*link, len(r.Members))
	defer func() {
		for _, l := range links {
			l.Close()
		}
	}()
	_, err = Settle(ctx, e.folder, func(i int) (Peer, error) {
		links[i] = e.link(r.Members[i].PublicKey, r.Members[i].Addresses)
		return links[i], nil
	}, seen, e.say)
	if err != nil {
		e.log.Info("not all members of this founding could be told", "cause", err)
	}
}

// link is a Peer whose key is known: it dials when it is asked.
type link struct {
	e         *Engine
	key       ed25519.PublicKey
	addresses []string
	s         *session
}

func (e *Engine) link(key ed25519.PublicKey, addresses []string) *link {
	all := slices.Clone(addresses)
	for _, h := range e.hearing.list() { // where it is now
		if h.Who == [8]byte(key) {
			for _, a := range h.Addresses {
				if !slices.Contains(all, a.String()) {
					all = append(all, a.String())
				}
			}
		}
	}
	return &link{e: e, key: key, addresses: all}
}

func (l *link) Close() {
	if l != nil && l.s != nil {
		_ = l.s.Close()
		l.s = nil
	}
}

// Ask implements Peer.
func (l *link) Ask(ctx context.Context, m Message) (Message, error) {
	if l.s == nil {
		s, _, err := dial(ctx, l.e.folder.key, l.addresses)
		if err != nil {
			return Message{}, err
		}
		l.s = s
		if !s.peer.Equal(l.key) {
			l.Close()
			return Message{}, fault(Unreachable, "another machine answers at "+s.conn.RemoteAddr().String())
		}
		about, err := s.Ask(ctx, Message{Kind: KindReturn})
		if err == nil {
			err = about.want(KindAbout, nil)
		}
		if err != nil {
			l.Close()
			return Message{}, err
		}
	}
	answer, err := l.s.Ask(ctx, m)
	if err != nil {
		l.Close()
	}
	return answer, err
}
