package build

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"path"
	"strings"
	"testing"
	"time"

	"beffroi.dev/image/packages"
)

func TestDownloadsTellHowFarTheyAre(t *testing.T) {
	debs := map[string][]byte{"a": bytes.Repeat([]byte("a"), 2_000_000), "b": bytes.Repeat([]byte("b"), 3_000_000)}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write(debs[path.Base(r.URL.Path)]) }))
	defer server.Close()
	var log bytes.Buffer
	b := &builder{Config: config(t), log: &log, lock: packages.Lock{Release: "12"}}
	for _, name := range []string{"a", "b"} {
		b.lock.Packages = append(b.lock.Packages, packages.Package{Name: name, Version: "1", Size: int64(len(debs[name])), SHA256: hash(debs[name]), Path: "pool/" + name})
	}
	for _, tc := range []struct {
		name   string
		empty  bool // the cache
		every  time.Duration
		says   []string
		silent []string
	}{
		{"at every piece", true, 0, []string{"packages: 2 of Debian 12\n", "packages: 0 of 2, 2 of 5 MB\n", "packages: 1 of 2, 5 of 5 MB\n", "all here, 5 MB were fetched\n"}, nil},
		{"not more often than is asked for", true, time.Hour, []string{"all here, 5 MB were fetched\n"}, []string{"of 5 MB"}},
		{"all is cached", false, 0, []string{"packages: 2 of Debian 12\n"}, []string{"MB"}},
	} {
		if log.Reset(); tc.empty {
			b.cache = packages.Cache{Dir: t.TempDir(), Base: server.URL}
		}
		if err := b.fetch(t.Context(), tc.every); err != nil {
			t.Fatal(err)
		}
		for i, words := range [][]string{tc.says, tc.silent} {
			for _, w := range words {
				if strings.Contains(log.String(), w) != (i == 0) {
					t.Errorf("%s: %q, must be there: %v, in\n%s", tc.name, w, i == 0, log.String())
				}
			}
		}
		if lines := strings.Count(log.String(), "\n"); tc.every > 0 && lines != 2 || !tc.empty && lines != 1 {
			t.Errorf("%s: %d lines:\n%s", tc.name, lines, log.String())
		}
	}
}
