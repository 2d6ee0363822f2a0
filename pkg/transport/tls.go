package transport

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"time"
)

// TLS wants certificates; we want keys. So each end makes a certificate for its
// key when it starts, and looks at nothing but the key in the other's. The
// dates are the widest that can be written, and nobody reads them: a node whose
// clock battery died must still find its twin.

var errNotPinned = errors.New("public key is not pinned")

func selfSigned(key ed25519.PrivateKey) (tls.Certificate, error) {
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "beffroi"},
		NotBefore:    time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC),
		NotAfter:     time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC),
		KeyUsage:     x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("make certificate: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// tlsConfig serves both ends; pinned decides by public key alone.
func tlsConfig(cert tls.Certificate, pinned func(ed25519.PublicKey) bool) *tls.Config {
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{cert},
		ClientAuth:   tls.RequireAnyClientCert,
		// The standard chain and date checks are replaced by VerifyConnection,
		// which runs on every handshake.
		InsecureSkipVerify:          true,
		SessionTicketsDisabled:      true,
		DynamicRecordSizingDisabled: true, // full records from the first byte
		VerifyConnection: func(cs tls.ConnectionState) error {
			key, ok := peerKey(cs)
			if !ok || !pinned(key) {
				return errNotPinned
			}
			return nil
		},
	}
}

func peerKey(cs tls.ConnectionState) (ed25519.PublicKey, bool) {
	if len(cs.PeerCertificates) != 1 {
		return nil, false
	}
	key, ok := cs.PeerCertificates[0].PublicKey.(ed25519.PublicKey)
	return key, ok
}
