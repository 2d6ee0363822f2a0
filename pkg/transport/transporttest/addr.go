package transporttest

import (
	"fmt"
	"os"
	"sync/atomic"
)

var given atomic.Uint32

// Addr is a loopback address with a port that nobody else is given: neither another
// caller in this process, nor another test process, nor the kernel for an outgoing
// connection, as may happen to a port that was found free and closed again. It lies
// in 127.128.0.0/9: 15 bits of the address are the process, and the rest, with the
// port, counts.
func Addr() string {
	n, pid := given.Add(1), uint32(os.Getpid())&0x7fff
	return fmt.Sprintf("127.%d.%d.%d:%d", 128|pid>>8, pid&0xff, 1+n%250, 7000+n/250)
}
