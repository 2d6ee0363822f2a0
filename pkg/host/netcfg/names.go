package netcfg

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"strings"
)

// saveNames writes the DNS servers in use where resolvers of all users read them
// (resolv.conf), whole or not at all. While nobody knows yet what DHCP says, what an
// earlier life wrote stays.
func saveNames(path string, cfg Config, offer Offer) error {
	if path == "" || len(cfg.Lan.DNS) == 0 && cfg.Lan.Mode == ModeDHCP && !offer.Known {
		return nil
	}
	text := resolvConf(Names(cfg, offer))
	if old, err := os.ReadFile(path); err == nil && string(old) == text {
		return nil
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("name servers: %w", err)
	}
	tmp := path + ".new"
	err := os.WriteFile(tmp, []byte(text), 0o644)
	err = errors.Join(err, os.Chmod(tmp, 0o644)) // whatever the umask is
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		return fmt.Errorf("name servers: %w", err)
	}
	return nil
}

// resolvConf is the file as resolv.conf(5) has it: one server a line, the first is asked
// first.
func resolvConf(servers []netip.Addr) string {
	var b strings.Builder
	b.WriteString("# written by init: the lan's name servers\n")
	for _, s := range servers {
		fmt.Fprintf(&b, "nameserver %v\n", s)
	}
	return b.String()
}
