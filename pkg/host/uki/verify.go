package uki

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
)

// ErrSignature is returned for an image that none of the trusted keys signed, or
// that was changed since.
var ErrSignature = errors.New("no valid signature")

// Verify checks the first signature of an image against trusted certificates. The
// signer's own certificate must be among them: there are no chains.
func Verify(image []byte, trusted ...*x509.Certificate) error {
	h, err := parse(image)
	if err != nil {
		return fmt.Errorf("uki: %w", err)
	}
	directory := h.opt + optSize + 8*certificate
	at, size := uint64(le.Uint32(image[directory:])), uint64(le.Uint32(image[directory+4:]))
	if at == 0 || size < 8 || at+size != uint64(len(image)) {
		return fmt.Errorf("uki: %w: there is none", ErrSignature)
	}
	entry := image[at:]
	if n := uint64(le.Uint32(entry)); n < 8 || n > size {
		return fmt.Errorf("uki: %w: its length is wrong", ErrSignature)
	}
	sum, err := digest(image)
	if err != nil {
		return err
	}
	if err := verify(entry[8:le.Uint32(entry)], sum, trusted); err != nil {
		return fmt.Errorf("uki: %w: %v", ErrSignature, err)
	}
	return nil
}

func verify(der []byte, sum [32]byte, trusted []*x509.Certificate) error {
	var outer contentInfo
	if _, err := asn1.Unmarshal(der, &outer); err != nil {
		return err
	}
	var data signedData
	if _, err := asn1.Unmarshal(outer.Content.Bytes, &data); err != nil {
		return err
	}
	var in indirect
	if _, err := asn1.Unmarshal(data.Content.Content.Bytes, &in); err != nil {
		return err
	}
	if !outer.Type.Equal(oidSigned) || !data.Content.Type.Equal(oidIndirect) || len(data.Signers) != 1 {
		return errors.New("not the signature of an image")
	}
	if !in.Digest.Algorithm.OID.Equal(oidSHA256) || !bytes.Equal(in.Digest.Sum, sum[:]) {
		return errors.New("the image was changed")
	}
	want, err := signedAttributes(data.Content.Content.Bytes)
	if err != nil {
		return err
	}
	s := data.Signers[0]
	signed, err := asn1.Marshal(asn1.RawValue{Tag: asn1.TagSet, IsCompound: true, Bytes: s.Attributes.Bytes})
	if err != nil {
		return err
	}
	if !bytes.Equal(signed, want) {
		return errors.New("unusual signed attributes")
	}
	hash := sha256.Sum256(want)
	for _, c := range trusted {
		pub, ok := c.PublicKey.(*rsa.PublicKey)
		if ok && rsa.VerifyPKCS1v15(pub, crypto.SHA256, hash[:], s.Signature) == nil {
			return nil
		}
	}
	return errors.New("its key is not among the trusted")
}
