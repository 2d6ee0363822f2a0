package transport

import (
	"bufio"
	"net"
	"sync"
	"sync/atomic"
)

// ioBuffer is the size of the buffers between TLS and the socket, in bytes: TLS
// writes and reads records of 16 KiB, and one system call for each would cost
// more than the record.
const ioBuffer = 256 << 10

// wire sits between TLS and the socket. It counts bytes, reads ahead, and, once
// held, gathers records until it is flushed.
type wire struct {
	net.Conn
	in, out *atomic.Uint64
	r       *bufio.Reader

	mu   sync.Mutex // guards buf and held: TLS may write an alert from a reader
	buf  []byte
	held bool
}

func newWire(c net.Conn) *wire { return &wire{Conn: c} }

// count directs the counters; it is called before the connection is shared.
func (w *wire) count(in, out *atomic.Uint64) { w.in, w.out = in, out }

// hold switches to gathering and reading ahead, after the handshake and before
// the first frame.
func (w *wire) hold() {
	w.r = bufio.NewReaderSize(w.Conn, ioBuffer)
	w.mu.Lock()
	w.held, w.buf = true, make([]byte, 0, ioBuffer)
	w.mu.Unlock()
}

// Read reads from the socket or from what was read ahead.
func (w *wire) Read(p []byte) (n int, err error) {
	if w.r != nil {
		n, err = w.r.Read(p)
	} else {
		n, err = w.Conn.Read(p)
	}
	if w.in != nil {
		w.in.Add(uint64(n))
	}
	return n, err
}

// Write writes, or gathers when held.
func (w *wire) Write(p []byte) (int, error) {
	if w.out != nil {
		w.out.Add(uint64(len(p)))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.held {
		return w.Conn.Write(p)
	}
	if len(w.buf)+len(p) > cap(w.buf) {
		if err := w.flush(); err != nil {
			return 0, err
		}
	}
	if len(p) > cap(w.buf) {
		return w.Conn.Write(p)
	}
	w.buf = append(w.buf, p...)
	return len(p), nil
}

// Flush sends what was gathered.
func (w *wire) Flush() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.flush()
}

func (w *wire) flush() error {
	if len(w.buf) == 0 {
		return nil
	}
	_, err := w.Conn.Write(w.buf)
	w.buf = w.buf[:0]
	return err
}
