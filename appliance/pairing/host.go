package pairing

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"errors"
	"net"
	"time"

	"beffroi.dev/pkg/task"
)

// listen takes founders until ctx ends.
func (e *Engine) listen(ctx context.Context) error {
	cfg, err := tlsConfig(e.folder.key)
	if err != nil {
		return err
	}
	for ctx.Err() == nil {
		if err := e.accept(ctx, cfg); err != nil && ctx.Err() == nil {
			e.log.Warn("pairing does not listen; trying again", "address", e.cfg.Listen, "cause", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
	return nil
}

func (e *Engine) accept(ctx context.Context, cfg *tls.Config) error {
	l, err := net.Listen("tcp", e.cfg.Listen)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	defer l.Close()
	sessions := task.New(ctx)
	room := make(chan struct{}, maxSessions)
	for {
		c, err := l.Accept()
		if err != nil {
			return errors.Join(err, sessions.Stop(stopBound))
		}
		select {
		case room <- struct{}{}:
		default:
			_ = c.Close()
			continue
		}
		sessions.Go("founder "+c.RemoteAddr().String(), func(ctx context.Context) error {
			defer func() { <-room }()
			defer c.Close()
			stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Now().Add(time.Second)) }) // a last answer may be on its way
			defer stop()
			if err := e.serve(ctx, tls.Server(c, cfg)); err != nil {
				e.log.Info("a founder's connection ended", "from", c.RemoteAddr().String(), "cause", err)
			}
			return nil
		})
	}
}

// serve talks with one founder.
func (e *Engine) serve(ctx context.Context, c *tls.Conn) error {
	s, err := secure(ctx, c)
	if err != nil {
		return err
	}
	if c.ConnectionState().NegotiatedProtocol != protocol {
		return nil // the vote of a founded node, which looks for a member that does not know yet
	}
	first, err := s.receive(answerBound)
	if err != nil {
		return errors.Join(err, s.send(refusal(AsFault(err, BadMessage)))) // another version should know why
	}
	if err := e.admit(s, first); err != nil {
		f := AsFault(err, BadMessage)
		return errors.Join(f, s.send(refusal(f)))
	}
	about, err := message(KindAbout, e.about())
	if err != nil {
		return err
	}
	for answer := about; ; {
		if err := s.send(answer); err != nil {
			return err
		}
		if e.isFounded() {
			e.end()
			return nil
		}
		m, err := s.receive(idleBound)
		if err != nil {
			return nil // it has gone
		}
		answer = e.handle(s.peer, m)
	}
}

func (e *Engine) isFounded() bool {
	id, err := e.folder.Founded()
	return err == nil && !id.IsZero()
}

// handle carries out a founder's message, unless this member founds by itself.
func (e *Engine) handle(founder ed25519.PublicKey, m Message) Message {
	if e.working() {
		return refusal(fault(NotNow))
	}
	e.journal.Lock()
	defer e.journal.Unlock()
	switch r, err := e.folder.Record(); {
	case err != nil:
		return refusal(AsFault(err, Disk))
	case r != nil && r.Decided:
		return refusal(fault(NotNow))
	case r != nil && m.Kind == KindPrepare: // its own founding is undone; not all could be told
		if err := e.folder.Close(); err != nil {
			return refusal(AsFault(err, Disk))
		}
	}
	o := Offer{Key: e.self(), About: e.about(), Journal: e.folder}
	answer := o.Handle(founder, m)
	kept, err := e.folder.Kept()
	e.mu.Lock()
	e.bound = err != nil || kept != nil
	e.mu.Unlock()
	e.log.Info("a founder asked", "kind", m.Kind, "answer", answer.Kind)
	return answer
}

// admit lets a founder in who knows the code, or who has met this member before.
func (e *Engine) admit(s *session, first Message) error {
	if s.peer.Equal(e.self()) {
		return fault(SameIdentity)
	}
	switch first.Kind {
	case KindReturn:
		kept, err := e.folder.Kept()
		if err != nil {
			return err
		}
		e.mu.Lock()
		defer e.mu.Unlock()
		if !e.founders[string(s.peer)] && (kept == nil || !s.peer.Equal(ed25519.PublicKey(kept.Founder))) {
			return fault(Unknown)
		}
		return nil
	case KindStart:
		return e.try(s, first)
	}
	return fault(BadMessage)
}

// try lets one founder at a time try the code.
func (e *Engine) try(s *session, start Message) error {
	e.mu.Lock()
	code, rest := e.code, time.Until(e.until)
	if e.meeting || rest > 0 {
		e.mu.Unlock()
		return fault(CodePaused, max(rest, time.Second).Round(time.Second).String())
	}
	e.meeting = true
	e.mu.Unlock()
	spent := false
	right, err := s.judge(code, e.self(), start, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		spent = true
		e.wrong++ // until it proves to be right
		e.until = time.Now().Add(time.Duration(e.wrong) * wrongRest)
	})
	e.mu.Lock()
	e.meeting = false
	anew := false
	switch {
	case right:
		e.wrong--
		e.until = time.Time{}
		if len(e.founders) >= maxHeard {
			clear(e.founders)
		}
		e.founders[string(s.peer)] = true
	case spent && e.wrong >= maxWrong:
		e.until, anew = time.Now().Add(codeRest), true
	}
	e.mu.Unlock()
	if anew {
		e.log.Warn("five wrong codes: there is a new one", "from", s.conn.RemoteAddr().String())
		e.renew()
	}
	if err == nil && !right {
		err = fault(CodeWrong)
	}
	return err
}
