package boot

import (
	"bytes"
	"os"
	"strconv"
	"strings"
	"time"
)

// Release is the image that runs.
type Release struct {
	Version string
	Built   time.Time
}

// ReadRelease reads os-release: VERSION_ID, and BUILT in seconds since 1970.
func ReadRelease(path string) Release {
	var r Release
	b, err := os.ReadFile(path)
	if err != nil {
		return r
	}
	for line := range bytes.Lines(b) {
		k, v, _ := strings.Cut(strings.TrimSpace(string(line)), "=")
		v = strings.Trim(v, `"`)
		switch k {
		case "VERSION_ID":
			r.Version = v
		case "BUILT":
			if n, err := strconv.ParseInt(v, 10, 64); err == nil {
				r.Built = time.Unix(n, 0)
			}
		}
	}
	return r
}
