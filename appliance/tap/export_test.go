package tap

import (
	"context"
	"net"
	"net/http"
	"os"
)

// Over is a client on a connection that stands; it takes the file over.
func Over(f *os.File) *Client {
	return &Client{&http.Client{Timeout: 2 * bound, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			defer f.Close()
			return net.FileConn(f)
		},
	}}}
}
