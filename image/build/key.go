package build

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"time"

	"beffroi.dev/pkg/host/uki"
)

// key is the key that was given, or the development key of this folder.
func (b *builder) key() (uki.Key, error) {
	if b.Key != "" {
		return readKey(b.Key, b.Cert)
	}
	dir := filepath.Join(b.Out, "keys")
	private, cert := filepath.Join(dir, "development.key"), filepath.Join(dir, "development.pem")
	if _, err := os.Stat(private); errors.Is(err, fs.ErrNotExist) {
		if err := makeKey(dir, private, cert); err != nil {
			return uki.Key{}, err
		}
	}
	b.say("WARNING: signed with a development key (%s): not for a town's servers; give -key and -cert", private)
	return readKey(private, cert)
}

func readKey(private, cert string) (uki.Key, error) {
	var k uki.Key
	der, err := readPEM(private)
	if err != nil {
		return k, err
	}
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		if parsed, err = x509.ParsePKCS1PrivateKey(der); err != nil {
			return k, fmt.Errorf("key %s: %w", private, err)
		}
	}
	var ok bool
	if k.Private, ok = parsed.(*rsa.PrivateKey); !ok {
		return k, fmt.Errorf("key %s: firmware only knows RSA", private)
	}
	if der, err = readPEM(cert); err != nil {
		return k, err
	}
	if k.Certificate, err = x509.ParseCertificate(der); err != nil {
		return k, fmt.Errorf("certificate %s: %w", cert, err)
	}
	return k, k.Validate()
}

func readPEM(file string) ([]byte, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, fmt.Errorf("%s: no PEM block", file)
	}
	return block.Bytes, nil
}

// makeKey makes a development key. Its certificate has no end that matters: firmware
// looks at no clock.
func makeKey(dir, private, cert string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Beffroi development"},
		NotBefore: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(2126, 1, 1, 0, 0, 0, 0, time.UTC),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}}
	public, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		return err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: public}), 0o644); err != nil {
		return err
	}
	return os.WriteFile(private, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600)
}
