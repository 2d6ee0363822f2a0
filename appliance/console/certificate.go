package console

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"beffroi.dev/appliance/config"
)

// certificate reads the console's own certificate, or makes it, and tells its
// SHA-256 fingerprint, by which a person recognises it.
func certificate(dir config.Dir, name, listen string) (tls.Certificate, string, error) {
	own := dir.Own("console")
	if err := os.MkdirAll(own, 0o700); err != nil {
		return tls.Certificate{}, "", fmt.Errorf("certificate: %w", err)
	}
	crt, key := filepath.Join(own, "console.crt"), filepath.Join(own, "console.key")
	if _, err := os.Stat(crt); errors.Is(err, os.ErrNotExist) {
		if err := makeCertificate(crt, key, name, listen); err != nil {
			return tls.Certificate{}, "", fmt.Errorf("make certificate: %w", err)
		}
	}
	pair, err := tls.LoadX509KeyPair(crt, key)
	if err != nil {
		return tls.Certificate{}, "", fmt.Errorf("certificate %s (remove it to get a new one): %w", crt, err)
	}
	sum := sha256.Sum256(pair.Certificate[0])
	return pair, hex.EncodeToString(sum[:]), nil
}

func makeCertificate(crt, key, name, listen string) error {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return err
	}
	// The dates are wide and fixed: a node whose clock lost its battery must not
	// make a certificate that is not valid yet.
	t := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "beffroi " + name},
		NotBefore: time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(2049, 12, 31, 0, 0, 0, 0, time.UTC),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true,
		DNSNames: []string{name, "localhost"},
	}
	if host, _, err := net.SplitHostPort(listen); err == nil {
		if ip := net.ParseIP(host); ip != nil {
			t.IPAddresses = []net.IP{ip}
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, private.Public(), private)
	if err != nil {
		return err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return err
	}
	// The certificate comes last: where it is, its key is.
	if err := save(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})); err != nil {
		return err
	}
	return save(crt, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func save(path string, b []byte) error {
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
