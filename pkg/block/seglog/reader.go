package seglog

import (
	"beffroi.dev/pkg/disk"
)

// readAhead is what recovery reads at a time: frames are small, and a disk is asked
// for a thousand of them no faster than for one.
const readAhead = 1 << 20

// reader reads a device for recovery. What it returns is valid until the next call.
type reader struct {
	dev      disk.Device
	progress Progress
	total    int64

	window []byte // what the device holds from at
	at     int64
}

// exactly fills buf.
func (r *reader) exactly(buf []byte, off int64) error {
	if _, err := r.dev.ReadAt(buf, off); err != nil {
		return err
	}
	r.total += int64(len(buf))
	if r.progress != nil {
		r.progress(r.total)
	}
	return nil
}

// ahead returns n bytes at off, and reads what follows them up to end along with them.
func (r *reader) ahead(off, n, end int64) ([]byte, error) {
	if off >= r.at && off+n <= r.at+int64(len(r.window)) {
		return r.window[off-r.at:][:n], nil
	}
	r.window, r.at = disk.Aligned(max(n, min(readAhead, end-off))), off
	if err := r.exactly(r.window, off); err != nil {
		// A fault further on is none of what is asked for.
		r.window = r.window[:n]
		if err := r.exactly(r.window, off); err != nil {
			r.window = nil
			return nil, err
		}
	}
	return r.window[:n], nil
}
