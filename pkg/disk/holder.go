package disk

import (
	"bufio"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// holder names the process that has a lock on path, from /proc/locks, as
// " (held by process 123, beffroi)"; empty when it cannot be told.
func holder(path string) string {
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil {
		return ""
	}
	f, err := os.Open("/proc/locks")
	if err != nil {
		return ""
	}
	defer f.Close()
	inode := fmt.Sprintf("%02x:%02x:%d", unix.Major(st.Dev), unix.Minor(st.Dev), st.Ino)
	for s := bufio.NewScanner(f); s.Scan(); {
		// 1: FLOCK  ADVISORY  WRITE 708 08:01:1234 0 EOF
		fields := strings.Fields(s.Text())
		if len(fields) >= 6 && fields[1] == "FLOCK" && fields[5] == inode {
			name, _ := os.ReadFile("/proc/" + fields[4] + "/comm")
			return fmt.Sprintf(" (held by process %s, %s)", fields[4], strings.TrimSpace(string(name)))
		}
	}
	return ""
}
