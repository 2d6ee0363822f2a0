package vmpair

import (
	"bytes"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"unicode/utf16"
)

// Places in OVMF's variable store (EDK2, Include/Guid/VariableFormat.h). Numbers are
// little-endian.
//
//	offset  size  field
//	0       72    header of the firmware volume
//	72      28    header of the store: GUID 16, size 4, format 1, state 1, reserved 6
//	100           variables, each at a multiple of 4:
//	  0     2     0x55aa
//	  2     1     state: 0x3f, added
//	  4     4     attributes
//	  8     8     monotonic count
//	  16    16    time
//	  32    4     index of a public key
//	  36    4     length of the name in bytes, with its end
//	  40    4     length of the data
//	  44    16    GUID of the owner
//	  60          name in UTF-16, data
const (
	storeAt     = 72
	variablesAt = storeAt + 28
	variableLen = 60
)

// guid is one in the mixed order of bytes that UEFI writes.
type guid [16]byte

func makeGUID(a uint32, b, c uint16, rest ...byte) (g guid) {
	binary.LittleEndian.PutUint32(g[:], a)
	binary.LittleEndian.PutUint16(g[4:], b)
	binary.LittleEndian.PutUint16(g[6:], c)
	copy(g[8:], rest)
	return g
}

var (
	authenticated = makeGUID(0xaaf32c78, 0x947b, 0x439a, 0xa1, 0x80, 0x2e, 0x14, 0x4e, 0xc3, 0x77, 0x92)
	global        = makeGUID(0x8be4df61, 0x93ca, 0x11d2, 0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c)
	security      = makeGUID(0xd719b2cb, 0x3d3a, 0x4596, 0xa3, 0xbc, 0xda, 0xd0, 0x0e, 0x67, 0x65, 0x6f)
	enable        = makeGUID(0xf0a30bc7, 0xaf08, 0x4556, 0x99, 0xc4, 0x00, 0x10, 0x09, 0xc9, 0x3a, 0x44)
	x509          = makeGUID(0xa5c059a1, 0x94e4, 0x4aa7, 0x87, 0xb5, 0xab, 0x15, 0x5c, 0x2b, 0xf0, 0x72)
	owner         = makeGUID(0xbef0f001, 0x0000, 0x4000, 0x80, 0, 0, 0, 0, 0, 0, 1)
)

// Attributes of variables: kept, for the boot services; and those of keys.
const (
	attrBoot = 0x03
	attrKey  = 0x27 // also at run time, changed by signed requests only
)

// Enroll writes firmware variables with Secure Boot on and one certificate (PEM) as
// owner's key, exchange key and only signer, as an owner does in the firmware's menu.
func Enroll(cert, to string) error {
	text, err := os.ReadFile(cert)
	if err != nil {
		return err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return fmt.Errorf("%s: no PEM block", cert)
	}
	store, err := os.ReadFile(Vars)
	if err != nil {
		return err
	}
	if len(store) < variablesAt || !bytes.Equal(store[storeAt:storeAt+16], authenticated[:]) {
		return fmt.Errorf("%s: no store of authenticated variables", Vars)
	}
	list := append([]byte(nil), x509[:]...)
	list = binary.LittleEndian.AppendUint32(list, uint32(28+16+len(block.Bytes)))
	list = binary.LittleEndian.AppendUint32(list, 0)
	list = binary.LittleEndian.AppendUint32(list, uint32(16+len(block.Bytes)))
	list = append(append(list, owner[:]...), block.Bytes...)

	at := variablesAt
	for at+variableLen < len(store) && store[at] == 0xaa && store[at+1] == 0x55 {
		name, data := binary.LittleEndian.Uint32(store[at+36:]), binary.LittleEndian.Uint32(store[at+40:])
		at += (variableLen + int(name) + int(data) + 3) &^ 3
	}
	end := storeAt + int(binary.LittleEndian.Uint32(store[storeAt+16:]))
	for _, v := range []struct {
		name  string
		owner guid
		attr  uint32
		data  []byte
	}{
		{"PK", global, attrKey, list}, {"KEK", global, attrKey, list}, {"db", security, attrKey, list},
		{"SecureBootEnable", enable, attrBoot, []byte{1}},
	} {
		b := variable(v.name, v.owner, v.attr, v.data)
		if at+len(b) > min(end, len(store)) {
			return errors.New("the keys do not fit into the firmware's variables")
		}
		copy(store[at:], b)
		at += (len(b) + 3) &^ 3
	}
	return os.WriteFile(to, store, 0o600)
}

func variable(name string, owner guid, attr uint32, data []byte) []byte {
	wide := utf16.Encode([]rune(name + "\x00"))
	b := make([]byte, variableLen, variableLen+2*len(wide)+len(data))
	binary.LittleEndian.PutUint16(b, 0x55aa)
	b[2] = 0x3f
	binary.LittleEndian.PutUint32(b[4:], attr)
	binary.LittleEndian.PutUint16(b[16:], 2026) // the time of a key: day one
	b[18], b[19] = 1, 1
	binary.LittleEndian.PutUint32(b[36:], uint32(2*len(wide)))
	binary.LittleEndian.PutUint32(b[40:], uint32(len(data)))
	copy(b[44:], owner[:])
	for _, c := range wide {
		b = binary.LittleEndian.AppendUint16(b, c)
	}
	return append(b, data...)
}
