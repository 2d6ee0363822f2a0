package uki

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"debug/pe"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// stub is the smallest image that Build takes: a header and one section.
func stub() []byte {
	b := make([]byte, 0x600)
	copy(b, "MZ")
	le.PutUint32(b[0x3c:], 0x40)
	copy(b[0x40:], "PE\x00\x00")
	le.PutUint16(b[0x44:], 0x8664)
	le.PutUint16(b[0x46:], 1)
	le.PutUint16(b[0x54:], optSize+16*8)
	le.PutUint16(b[0x56:], 0x0206)
	opt := b[0x58:]
	le.PutUint16(opt, 0x20b)
	le.PutUint32(opt[optSectionAlign:], 0x200)
	le.PutUint32(opt[optFileAlign:], 0x200)
	le.PutUint32(opt[optSizeOfImage:], 0x2000)
	le.PutUint32(opt[optSizeOfHeaders:], 0x400)
	le.PutUint32(opt[optDirectories:], 16)
	section{name: ".text", virtual: 0x180, address: 0x1000, rawSize: 0x200, rawAt: 0x400, flags: 0x60000020}.put(b[0x58+optSize+128:])
	return b
}

func parts() []Part {
	return []Part{{".osrel", []byte("VERSION_ID=1\n")}, {".cmdline", []byte("quiet\x00")}, {".linux", bytes.Repeat([]byte{1, 2, 3}, 5000)}}
}

func key(t *testing.T) Key {
	t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "test"},
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<32, 0)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return Key{Certificate: c, Private: private}
}

func TestPartsBecomeSections(t *testing.T) {
	image, err := Build(stub(), parts())
	if err != nil {
		t.Fatal(err)
	}
	f, err := pe.NewFile(bytes.NewReader(image))
	if err != nil {
		t.Fatal(err)
	}
	end := uint32(0)
	for _, s := range f.Sections {
		if s.VirtualAddress < end || s.Offset%512 != 0 {
			t.Errorf("%s lies at %#x, offset %#x", s.Name, s.VirtualAddress, s.Offset)
		}
		end = s.VirtualAddress + s.VirtualSize
	}
	if size := f.OptionalHeader.(*pe.OptionalHeader64).SizeOfImage; size < end || size%4096 != 0 {
		t.Errorf("SizeOfImage %#x, the sections end at %#x", size, end)
	}
	for _, p := range parts() {
		if got, err := Section(image, p.Name); err != nil || !bytes.Equal(got, p.Data) {
			t.Errorf("%s: %d bytes, %v", p.Name, len(got), err)
		}
	}
	if _, err := Section(image, ".none"); err == nil {
		t.Error("a section that is not there was read")
	}
}

func TestASignatureCoversEveryByte(t *testing.T) {
	k, other := key(t), key(t)
	image, err := Build(stub(), parts())
	if err != nil {
		t.Fatal(err)
	}
	signed, err := Sign(image, k)
	if err != nil {
		t.Fatal(err)
	}
	if err := Verify(signed, other.Certificate, k.Certificate); err != nil {
		t.Fatal(err)
	}
	again, err := Sign(signed, k)
	if err != nil || !bytes.Equal(signed, again) {
		t.Errorf("signing again gives other bytes: %v", err)
	}
	if err := Verify(signed, other.Certificate); !errors.Is(err, ErrSignature) {
		t.Errorf("another key: %v", err)
	}
	if err := Verify(image, k.Certificate); !errors.Is(err, ErrSignature) {
		t.Errorf("unsigned: %v", err)
	}
	for _, at := range []int{0x200, 0x420, len(image) - 600, len(image) - 1} {
		bad := bytes.Clone(signed)
		bad[at] ^= 0x10
		if err := Verify(bad, k.Certificate); err == nil {
			t.Errorf("a changed byte at %#x went unnoticed", at)
		}
	}
	if _, err := Sign(image, Key{Certificate: other.Certificate, Private: k.Private}); err == nil {
		t.Error("a key was used with another's certificate")
	}
}

// sbverify is what distributions check such signatures with.
func TestAForeignProgramAcceptsTheSignature(t *testing.T) {
	program, err := exec.LookPath("sbverify")
	if err != nil {
		if os.Getenv("BEFFROI_REQUIRE_TOOLS") != "" {
			t.Fatal(err)
		}
		t.Skip("sbverify is not installed")
	}
	k := key(t)
	image, err := Build(stub(), parts())
	if err != nil {
		t.Fatal(err)
	}
	signed, err := Sign(image, k)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file, cert := filepath.Join(dir, "a.efi"), filepath.Join(dir, "a.pem")
	if err := os.WriteFile(file, signed, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: k.Certificate.Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(program, "--cert", cert, file).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

func FuzzRead(f *testing.F) {
	image, err := Build(stub(), parts())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(image)
	f.Add(stub())
	f.Fuzz(func(t *testing.T, b []byte) {
		Section(b, ".osrel")
		digest(b)
		Verify(b)
		Build(b, parts())
	})
}
