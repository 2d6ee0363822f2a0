package pairing

import (
	"bytes"
	"crypto/ed25519"

	"beffroi.dev/pkg/ident"
)

// Journal is what survives a power cut. Each method is durable when it returns, and
// whole or without effect when the power goes meanwhile.
type Journal interface {
	// Kept is the document of a founding that this member has prepared, or nil.
	Kept() (*Document, error)
	Keep(*Document) error
	Forget() error
	// Adopt makes the document this member's configuration. It may be repeated.
	Adopt(*Document) error
	// Founded is the founding that this member has adopted; zero: none.
	Founded() (ident.UUID, error)
}

// Offer is a member that can be founded. It is not for concurrent use.
type Offer struct {
	Key     ed25519.PublicKey
	About   About
	Journal Journal
}

// Handle answers a message of a founder that has been authenticated.
func (o *Offer) Handle(founder ed25519.PublicKey, m Message) Message {
	answer, err := o.handle(founder, m)
	if err != nil {
		return refusal(AsFault(err, Disk))
	}
	return answer
}

func (o *Offer) handle(founder ed25519.PublicKey, m Message) (Message, error) {
	switch m.Kind {
	case KindPrepare:
		var d Document
		if err := m.read(&d); err != nil {
			return Message{}, err
		}
		return Message{Kind: KindPrepared}, o.prepare(founder, &d)
	case KindCommit:
		var id ident.UUID
		if err := m.read(&id); err != nil {
			return Message{}, err
		}
		return Message{Kind: KindDone}, o.commit(founder, id)
	case KindAbort:
		var id ident.UUID
		if err := m.read(&id); err != nil {
			return Message{}, err
		}
		return Message{Kind: KindForgotten}, o.abort(founder, id)
	}
	return Message{}, fault(BadMessage)
}

func (o *Offer) prepare(founder ed25519.PublicKey, d *Document) error {
	if o.About.Taken != nil {
		return o.About.Taken
	}
	if err := d.Validate(o.Key); err != nil {
		return err
	}
	if !bytes.Equal(d.Founder, founder) {
		return fault(BadDocument, "another one's document")
	}
	if id, err := o.Journal.Founded(); err != nil {
		return err
	} else if !id.IsZero() {
		return fault(NotBlank)
	}
	kept, err := o.Journal.Kept()
	if err != nil {
		return err
	}
	// A founder begins anew only what it has not decided: it replaces its own.
	if kept != nil && !bytes.Equal(kept.Founder, founder) {
		return fault(OtherFounder)
	}
	return o.Journal.Keep(d)
}

func (o *Offer) commit(founder ed25519.PublicKey, id ident.UUID) error {
	done, err := o.Journal.Founded()
	if err != nil {
		return err
	}
	kept, err := o.Journal.Kept()
	if err != nil {
		return err
	}
	switch {
	case !done.IsZero() && done != id:
		return fault(NotBlank)
	case done == id && !done.IsZero():
	case kept == nil || kept.Founding != id || !bytes.Equal(kept.Founder, founder):
		return fault(Unknown)
	default:
		if err := o.Journal.Adopt(kept); err != nil {
			return err
		}
	}
	return o.Journal.Forget()
}

// abort forgets a founding that was not decided. One that is unknown is forgotten.
func (o *Offer) abort(founder ed25519.PublicKey, id ident.UUID) error {
	kept, err := o.Journal.Kept()
	if err != nil || kept == nil || kept.Founding != id || !bytes.Equal(kept.Founder, founder) {
		return err
	}
	return o.Journal.Forget()
}
