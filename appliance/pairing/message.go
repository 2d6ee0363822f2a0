package pairing

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
)

// Version of the protocol; see PROTOCOL.md. History: 1 first.
const Version = 1

// Kind of a message.
type Kind uint16

// The kinds.
const (
	KindStart     Kind = iota + 1 // founder: a share
	KindShare                     // member: a share
	KindProof                     // founder: it knows the code
	KindAccepted                  // member: so does it
	KindReturn                    // founder: we have met before
	KindAbout                     // member: what it is
	KindPrepare                   // founder: keep this document
	KindPrepared                  //
	KindCommit                    // founder: adopt it
	KindDone                      //
	KindAbort                     // founder: forget it
	KindForgotten                 //
	KindRefused                   // member: why not
)

const (
	headerSize = 8
	maxBody    = 64 << 10
)

// Message is one message with its body.
type Message struct {
	Kind Kind
	Body []byte
}

// Append encodes the message.
func (m Message) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, Version)
	b = binary.BigEndian.AppendUint16(b, uint16(m.Kind))
	b = binary.BigEndian.AppendUint32(b, uint32(len(m.Body)))
	return append(b, m.Body...)
}

// ReadMessage reads one message; it never reads, nor makes room for, more than a
// message may have.
func ReadMessage(r io.Reader) (Message, error) {
	var h [headerSize]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return Message{}, err
	}
	if v := binary.BigEndian.Uint16(h[:]); v != Version {
		return Message{}, fault(OtherVersion, fmt.Sprint(v))
	}
	n := binary.BigEndian.Uint32(h[4:])
	if n > maxBody {
		return Message{}, fault(BadMessage, fmt.Sprintf("%d bytes", n))
	}
	m := Message{Kind: Kind(binary.BigEndian.Uint16(h[2:])), Body: make([]byte, n)}
	if _, err := io.ReadFull(r, m.Body); err != nil {
		return Message{}, fmt.Errorf("body of a message: %w", err)
	}
	return m, nil
}

// message makes one with a document as its body.
func message(k Kind, body any) (Message, error) {
	b, err := json.Marshal(body)
	if err != nil {
		return Message{}, fmt.Errorf("message %d: %w", k, err)
	}
	if len(b) > maxBody {
		return Message{}, fmt.Errorf("message %d: %d bytes, at most %d", k, len(b), maxBody)
	}
	return Message{k, b}, nil
}

// read decodes a body; nothing unknown may be in it.
func (m Message) read(v any) error {
	d := json.NewDecoder(bytes.NewReader(m.Body))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return fault(BadMessage, fmt.Sprintf("kind %d: %v", m.Kind, err))
	}
	return nil
}

// refusal is the message of a fault.
func refusal(f *Fault) Message {
	f = &Fault{Reason: f.Reason, Detail: f.Detail[:min(len(f.Detail), 300)]}
	b, _ := json.Marshal(f) // two strings always can
	return Message{KindRefused, b}
}

// want takes a message of one kind, or the refusal that came instead.
func (m Message) want(k Kind, v any) error {
	switch {
	case m.Kind == KindRefused:
		var f Fault
		if err := m.read(&f); err != nil {
			return err
		}
		return &f
	case m.Kind != k:
		return fault(BadMessage, fmt.Sprintf("kind %d, want %d", m.Kind, k))
	case v == nil:
		return nil
	}
	return m.read(v)
}
