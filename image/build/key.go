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

// key reads the key that signs. Without one a development key is made once and
// kept beside the image.
func (j *job) key() (uki.Key, error) {
	if err := os.MkdirAll(j.Cache, 0o755); err != nil {
		return uki.Key{}, fmt.Errorf("build: %w", err)
	}
	dir := filepath.Join(j.Out, "keys")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return uki.Key{}, fmt.Errorf("build: %w", err)
	}
	key, cert := j.Key, j.Cert
	if key == "" {
		key, cert = filepath.Join(dir, "development.key"), filepath.Join(dir, "development.crt")
		j.say("WARNING: signed with the development key %s; give -key and -cert for images that leave this machine", key)
		if _, err := os.Stat(key); errors.Is(err, fs.ErrNotExist) {
			if err := makeKey(key, cert); err != nil {
				return uki.Key{}, err
			}
		}
	}
	return loadKey(key, cert)
}

func loadKey(key, cert string) (uki.Key, error) {
	var k uki.Key
	der, err := readPEM(key)
	if err != nil {
		return k, err
	}
	if private, err := x509.ParsePKCS8PrivateKey(der); err == nil {
		k.Private, _ = private.(*rsa.PrivateKey)
	} else if k.Private, err = x509.ParsePKCS1PrivateKey(der); err != nil {
		return k, fmt.Errorf("key %s: %w", key, err)
	}
	if k.Private == nil {
		return k, fmt.Errorf("key %s: want an RSA key, firmware knows no other", key)
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
		return nil, fmt.Errorf("key: %w", err)
	}
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, fmt.Errorf("key: %s holds no PEM block", file)
	}
	return block.Bytes, nil
}

// makeKey makes a key and a certificate for itself. The certificate is written
// first: a build that was cut off between the two makes both anew.
func makeKey(key, cert string) error {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return fmt.Errorf("key: %w", err)
	}
	from := time.Now().UTC().Truncate(time.Hour)
	t := &x509.Certificate{SerialNumber: big.NewInt(from.Unix()), Subject: pkix.Name{CommonName: "Beffroi development key, not for production"},
		NotBefore: from, NotAfter: from.AddDate(10, 0, 0), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}}
	der, err := x509.CreateCertificate(rand.Reader, t, t, &private.PublicKey, private)
	if err != nil {
		return fmt.Errorf("key: %w", err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return fmt.Errorf("key: %w", err)
	}
	if err := os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644); err != nil {
		return fmt.Errorf("key: %w", err)
	}
	if err := os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), 0o600); err != nil {
		return fmt.Errorf("key: %w", err)
	}
	return nil
}
