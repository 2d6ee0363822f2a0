package cluster

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strings"

	"beffroi.dev/pkg/ident"
)

// Network cards of VMs.
const (
	MaxCards     = 4
	DefaultCards = 1 // of a VM whose command says nothing, or that is older than cards
)

// Card is a network card of a VM, on the town's network.
type Card struct {
	MAC string `json:"mac"` // for ever: the town's DHCP and its licences know the VM by it
}

// Addresses are those of the VM's cards, in their order.
func (v VM) Addresses() []string {
	list := make([]string, len(v.Cards))
	for i, c := range v.Cards {
		list[i] = c.MAC
	}
	return list
}

// macOf is the address of a VM's index-th card. Its first byte says that it is locally
// administered and is no other of ours (the service address begins with 02). The other
// 40 bits are the pair's, by hash, with the number of VM and card laid over the lowest:
// so two cards of a pair never have the same, whatever the hash is, and two pairs on
// one network do so only when 30 bits and more of their hashes agree.
func macOf(pair ident.UUID, vm ident.VM, index int) string {
	sum := sha256.Sum256(append([]byte("beffroi card "), pair[:]...))
	n := binary.BigEndian.Uint64(sum[:8])>>24 ^ (uint64(vm)*MaxCards + uint64(index))
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], n)
	return fmt.Sprintf("52:%02x:%02x:%02x:%02x:%02x", b[3], b[4], b[5], b[6], b[7])
}

// CardPrefix is how the addresses of all cards of a pair's VMs begin: the first bytes,
// which no number of a VM reaches before the four millionth.
func CardPrefix(pair ident.UUID) string { return macOf(pair, 0, 0)[:len("52:ab:cd")] }

// cards gives a VM n cards; those that it has keep their addresses.
func (s *State) cards(v VM, n int) ([]Card, error) {
	if n < 0 || n > MaxCards {
		return nil, refuse("%d network cards, use 0 to %d", n, MaxCards)
	}
	list := make([]Card, n)
	for i := copy(list, v.Cards); i < n; i++ {
		list[i] = Card{MAC: macOf(s.Pair, v.ID, i)}
	}
	return list, nil
}

// isMAC allows what cards makes: six bytes in lower case, locally administered, of one
// card.
func isMAC(text string) bool {
	var b [6]byte
	parts := strings.Split(text, ":")
	if len(parts) != len(b) {
		return false
	}
	for i, p := range parts {
		if len(p) != 2 || strings.Trim(p, "0123456789abcdef") != "" {
			return false
		}
		if _, err := fmt.Sscanf(p, "%02x", &b[i]); err != nil {
			return false
		}
	}
	return b[0]&3 == 2
}
