package pairing

import (
	"context"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net"
	"strings"
	"time"
)

// Bounds of a session. A machine that is emulated may take seconds for a handshake.
const (
	dialBound   = 5 * time.Second
	answerBound = 30 * time.Second
	idleBound   = 2 * time.Minute
)

// protocol is what TLS calls it.
const protocol = "beffroi-pairing"

// session is a connection to somebody whose key is known, if not yet who it is.
type session struct {
	conn *tls.Conn
	peer ed25519.PublicKey
}

// tlsConfig asks both ends for a key and trusts any: the code, or what was pinned
// before, says whether it is the right one. The certificate's dates are the widest
// that can be written: a dead clock battery must not matter.
func tlsConfig(key ed25519.PrivateKey) (*tls.Config, error) {
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "beffroi"}, KeyUsage: x509.KeyUsageDigitalSignature,
		NotBefore: time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC),
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make certificate: %w", err)
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{protocol}, SessionTicketsDisabled: true,
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
		ClientAuth:   tls.RequireAnyClientCert, InsecureSkipVerify: true,
	}, nil
}

// secure ends the handshake and finds the other's key.
func secure(ctx context.Context, c *tls.Conn) (*session, error) {
	ctx, cancel := context.WithTimeout(ctx, answerBound)
	defer cancel()
	if err := c.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	certs := c.ConnectionState().PeerCertificates
	if len(certs) != 1 {
		return nil, fault(BadMessage, "no certificate")
	}
	key, ok := certs[0].PublicKey.(ed25519.PublicKey)
	if !ok {
		return nil, fault(BadMessage, "a certificate of another kind")
	}
	return &session{c, key}, nil
}

// dial connects to the first address that answers.
func dial(ctx context.Context, key ed25519.PrivateKey, addresses []string) (*session, string, error) {
	cfg, err := tlsConfig(key)
	if err != nil {
		return nil, "", err
	}
	var faults []error
	for _, a := range addresses {
		d := net.Dialer{Timeout: dialBound}
		c, err := d.DialContext(ctx, "tcp", a)
		if err != nil {
			faults = append(faults, err)
			continue
		}
		s, err := secure(ctx, tls.Client(c, cfg))
		if err == nil {
			return s, a, nil
		}
		_ = c.Close()
		faults = append(faults, err)
	}
	return nil, "", fault(Unreachable, strings.Join(addresses, " "), "("+strings.ReplaceAll(errors.Join(faults...).Error(), "\n", "; ")+")")
}

func (s *session) Close() error { return s.conn.Close() }

func (s *session) send(m Message) error {
	if err := s.conn.SetWriteDeadline(time.Now().Add(answerBound)); err != nil {
		return err
	}
	if _, err := s.conn.Write(m.Append(nil)); err != nil {
		return fault(Lost, err.Error())
	}
	return nil
}

func (s *session) receive(bound time.Duration) (Message, error) {
	if err := s.conn.SetReadDeadline(time.Now().Add(bound)); err != nil {
		return Message{}, err
	}
	m, err := ReadMessage(s.conn)
	if err != nil {
		return m, AsFault(err, Lost)
	}
	return m, nil
}

// Ask implements Peer.
func (s *session) Ask(_ context.Context, m Message) (Message, error) {
	if err := s.send(m); err != nil {
		return Message{}, err
	}
	return s.receive(answerBound)
}

// meeting is this session, as the key exchange must know it.
func (s *session) meeting(founder, member ed25519.PublicKey) (meeting, error) {
	state := s.conn.ConnectionState()
	id, err := state.ExportKeyingMaterial("EXPORTER-beffroi-pairing", nil, 32)
	return meeting{channel: id, founder: founder, member: member}, err
}

// prove is the founder's side of a meeting.
func (s *session) prove(c Code, self ed25519.PublicKey) error {
	at, err := s.meeting(self, s.peer)
	if err != nil {
		return err
	}
	e, err := newExchange(c, at)
	if err != nil {
		return err
	}
	answer, err := s.Ask(context.Background(), Message{KindStart, e.Share})
	if err != nil {
		return err
	}
	if err := answer.want(KindShare, nil); err != nil {
		return err
	}
	mine, theirs, err := e.proofs(e.Share, answer.Body, answer.Body)
	if err != nil {
		return fault(BadMessage, err.Error())
	}
	if answer, err = s.Ask(context.Background(), Message{KindProof, mine}); err != nil {
		return err
	}
	if err := answer.want(KindAccepted, nil); err != nil {
		return err
	}
	if !hmac.Equal(answer.Body, theirs) {
		return fault(CodeWrong)
	}
	return nil
}

// judge is the member's side: it learns first whether the other knows the code, so
// that a wrong guess tells nothing but that. spend is called before anything that
// depends on the code goes out.
func (s *session) judge(c Code, self ed25519.PublicKey, start Message, spend func()) (bool, error) {
	at, err := s.meeting(s.peer, self)
	if err != nil {
		return false, err
	}
	e, err := newExchange(c, at)
	if err != nil {
		return false, err
	}
	theirs, mine, err := e.proofs(start.Body, e.Share, start.Body)
	if err != nil {
		return false, fault(BadMessage, err.Error())
	}
	spend()
	if err := s.send(Message{KindShare, e.Share}); err != nil {
		return false, err
	}
	proof, err := s.receive(answerBound)
	if err != nil {
		return false, err
	}
	if proof.Kind != KindProof || !hmac.Equal(proof.Body, theirs) {
		return false, s.send(refusal(fault(CodeWrong)))
	}
	return true, s.send(Message{KindAccepted, mine})
}
