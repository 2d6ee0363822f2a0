package uki

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"sort"
)

// Key signs images.
type Key struct {
	Certificate *x509.Certificate
	Private     *rsa.PrivateKey
}

// Validate reports a key that does not belong to its certificate.
func (k Key) Validate() error {
	if k.Certificate == nil || k.Private == nil {
		return errors.New("uki: a key needs its certificate and its private half")
	}
	if pub, ok := k.Certificate.PublicKey.(*rsa.PublicKey); !ok || !pub.Equal(&k.Private.PublicKey) {
		return errors.New("uki: the certificate belongs to another key, or not to an RSA key")
	}
	return nil
}

// Sign returns the image with a signature. One that it has is replaced.
func Sign(image []byte, key Key) ([]byte, error) {
	if err := key.Validate(); err != nil {
		return nil, err
	}
	h, err := parse(image)
	if err != nil {
		return nil, fmt.Errorf("uki: %w", err)
	}
	directory := h.opt + optSize + 8*certificate
	out := bytes.Clone(image)
	if at := le.Uint32(out[directory:]); at != 0 {
		if int64(at) > int64(len(out)) {
			return nil, ErrImage
		}
		out = out[:at]
		clear(out[directory : directory+8])
	}
	// The table of signatures begins at a multiple of eight, and what fills the gap
	// is covered by the signature.
	out = pad(out, 8)
	sum, err := digest(out)
	if err != nil {
		return nil, err
	}
	sig, err := encode(sum, key)
	if err != nil {
		return nil, err
	}
	entry := make([]byte, 8, 8+len(sig))
	le.PutUint32(entry, uint32(8+len(sig)))
	le.PutUint16(entry[4:], 0x0200) // WIN_CERT_REVISION_2_0
	le.PutUint16(entry[6:], 0x0002) // WIN_CERT_TYPE_PKCS_SIGNED_DATA
	entry = pad(append(entry, sig...), 8)
	le.PutUint32(out[directory:], uint32(len(out)))
	le.PutUint32(out[directory+4:], uint32(len(entry)))
	out = append(out, entry...)
	h.setChecksum(out)
	return out, nil
}

// digest is the hash that a signature covers: all of the image but its checksum,
// the entry that points to the signatures, and the signatures.
func digest(b []byte) ([32]byte, error) {
	var sum [32]byte
	h, err := parse(b)
	if err != nil {
		return sum, fmt.Errorf("uki: %w", err)
	}
	directory := h.opt + optSize + 8*certificate
	end := len(b)
	if at := le.Uint32(b[directory:]); at != 0 {
		if int64(at) > int64(len(b)) {
			return sum, ErrImage
		}
		end = int(at)
	}
	header := int(le.Uint32(b[h.opt+optSizeOfHeaders:]))
	if directory+8 > header || header > end {
		return sum, ErrImage
	}
	w := sha256.New()
	w.Write(b[:h.opt+optCheckSum])
	w.Write(b[h.opt+optCheckSum+4 : directory])
	w.Write(b[directory+8 : header])
	var all []section
	for i := range h.sections {
		if s := h.section(b, i); s.rawSize > 0 {
			all = append(all, s)
		}
	}
	sort.SliceStable(all, func(i, j int) bool { return all[i].rawAt < all[j].rawAt })
	done := uint64(header)
	for _, s := range all {
		if uint64(s.rawAt)+uint64(s.rawSize) > uint64(end) || done+uint64(s.rawSize) > uint64(end) {
			return sum, ErrImage
		}
		w.Write(b[s.rawAt:][:s.rawSize])
		done += uint64(s.rawSize)
	}
	w.Write(b[done:end])
	w.Sum(sum[:0])
	return sum, nil
}

var (
	oidSHA256        = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}
	oidRSA           = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}
	oidSigned        = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}
	oidContentType   = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 3}
	oidMessageDigest = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 4}
	oidIndirect      = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 2, 1, 4}
	oidImageData     = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 2, 1, 15}
)

type algorithm struct {
	OID  asn1.ObjectIdentifier
	Null asn1.RawValue
}

// contentInfo is the frame of a typed value, in PKCS #7.
type contentInfo struct {
	Type    asn1.ObjectIdentifier
	Content asn1.RawValue `asn1:"explicit,tag:0"`
}

type issuerAndSerial struct {
	Issuer asn1.RawValue
	Serial *big.Int
}

type signerInfo struct {
	Version    int
	Issuer     issuerAndSerial
	Digest     algorithm
	Attributes asn1.RawValue
	Algorithm  algorithm
	Signature  []byte
}

type signedData struct {
	Version      int
	Digests      []algorithm `asn1:"set"`
	Content      contentInfo
	Certificates asn1.RawValue
	Signers      []signerInfo `asn1:"set"`
}

// indirect says what is signed: a PE image with this hash.
type indirect struct {
	Data struct {
		Type  asn1.ObjectIdentifier
		Value asn1.RawValue
	}
	Digest struct {
		Algorithm algorithm
		Sum       []byte
	}
}

type attribute struct {
	Type   asn1.ObjectIdentifier
	Values []asn1.RawValue `asn1:"set"`
}

var null = asn1.RawValue{Tag: asn1.TagNull}

// imageData is the fixed description of a PE image: no flags, and the empty name
// that every signing program writes.
var imageData = []byte{0x30, 0x09, 0x03, 0x01, 0x00, 0xa0, 0x04, 0xa2, 0x02, 0x80, 0x00}

// encode is the signature as PKCS #7 signed data.
func encode(sum [32]byte, key Key) ([]byte, error) {
	var in indirect
	in.Data.Type = oidImageData
	in.Data.Value = asn1.RawValue{FullBytes: imageData}
	in.Digest.Algorithm = algorithm{oidSHA256, null}
	in.Digest.Sum = sum[:]
	content, err := asn1.Marshal(in)
	if err != nil {
		return nil, fmt.Errorf("uki: %w", err)
	}
	attributes, err := signedAttributes(content)
	if err != nil {
		return nil, err
	}
	hash := sha256.Sum256(attributes)
	sig, err := rsa.SignPKCS1v15(rand.Reader, key.Private, crypto.SHA256, hash[:])
	if err != nil {
		return nil, fmt.Errorf("uki: %w", err)
	}
	var set asn1.RawValue
	if _, err := asn1.Unmarshal(attributes, &set); err != nil {
		return nil, fmt.Errorf("uki: %w", err)
	}
	inner, err := asn1.Marshal(signedData{
		Version: 1,
		Digests: []algorithm{{oidSHA256, null}},
		Content: contentInfo{oidIndirect, asn1.RawValue{Class: asn1.ClassContextSpecific, IsCompound: true, Bytes: content}},
		Certificates: asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true,
			Bytes: key.Certificate.Raw},
		Signers: []signerInfo{{
			Version:    1,
			Issuer:     issuerAndSerial{asn1.RawValue{FullBytes: key.Certificate.RawIssuer}, key.Certificate.SerialNumber},
			Digest:     algorithm{oidSHA256, null},
			Attributes: asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: set.Bytes},
			Algorithm:  algorithm{oidRSA, null},
			Signature:  sig,
		}},
	})
	if err != nil {
		return nil, fmt.Errorf("uki: %w", err)
	}
	return asn1.Marshal(contentInfo{oidSigned, asn1.RawValue{Class: asn1.ClassContextSpecific, IsCompound: true, Bytes: inner}})
}

// signedAttributes is the set that the key signs: what kind of content, and the
// hash of the content without its outer frame.
func signedAttributes(content []byte) ([]byte, error) {
	var frame asn1.RawValue
	if _, err := asn1.Unmarshal(content, &frame); err != nil {
		return nil, fmt.Errorf("uki: %w", err)
	}
	kind, err := asn1.Marshal(oidIndirect)
	if err != nil {
		return nil, fmt.Errorf("uki: %w", err)
	}
	hash := sha256.Sum256(frame.Bytes)
	sum, err := asn1.Marshal(hash[:])
	if err != nil {
		return nil, fmt.Errorf("uki: %w", err)
	}
	return asn1.MarshalWithParams([]attribute{
		{oidContentType, []asn1.RawValue{{FullBytes: kind}}},
		{oidMessageDigest, []asn1.RawValue{{FullBytes: sum}}},
	}, "set")
}
