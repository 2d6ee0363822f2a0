package packages

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// deb makes a package with these files; a value "-> x" makes a link.
func deb(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var data bytes.Buffer
	z := gzip.NewWriter(&data)
	w := tar.NewWriter(z)
	for name, text := range files {
		h := &tar.Header{Name: "./" + name, Mode: 0o644, Size: int64(len(text)), Typeflag: tar.TypeReg}
		if to, ok := strings.CutPrefix(text, "-> "); ok {
			h.Typeflag, h.Linkname, h.Size, text = tar.TypeSymlink, to, 0, ""
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		io.WriteString(w, text)
	}
	w.Close()
	z.Close()
	var b bytes.Buffer
	b.WriteString("!<arch>\n")
	for _, m := range []struct {
		name string
		data []byte
	}{{"debian-binary", []byte("2.0")}, {"data.tar.gz", data.Bytes()}} {
		fmt.Fprintf(&b, "%-16s%-12d%-6d%-6d%-8s%-10d`\n", m.name, 0, 0, 0, "100644", len(m.data))
		b.Write(m.data)
		if len(m.data)%2 == 1 {
			b.WriteByte('\n')
		}
	}
	return b.Bytes()
}

func pinned(b []byte) Package {
	p := Package{Name: "a", Version: "1", Size: int64(len(b)), Path: "pool/main/a/a.deb"}
	p.SHA256 = fmt.Sprintf("%x", sha256.Sum256(b))
	return p
}

func TestAPackageIsReadAsOnAMergedSystem(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a.deb")
	if err := os.WriteFile(file, deb(t, map[string]string{"lib/x/liba.so": "-> /lib/x/liba.so.1", "lib/x/liba.so.1": "code", "usr/bin/a": "a"}), 0o600); err != nil {
		t.Fatal(err)
	}
	tree := Tree{}
	if err := tree.Add(file, nil); err != nil {
		t.Fatal(err)
	}
	way, err := tree.Resolve("usr/lib/x/liba.so")
	if err != nil || len(way) != 2 || string(tree[way[1]].Data) != "code" {
		t.Errorf("%v, %v", way, err)
	}
	if _, err := tree.Resolve("usr/lib/none"); err == nil {
		t.Error("a file that is not there was found")
	}
}

func TestFetchTakesOnlyWhatTheLockSays(t *testing.T) {
	good := deb(t, map[string]string{"a": "1"})
	sent := good
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/pool/main/a/a.deb" {
			http.NotFound(w, r)
			return
		}
		w.Write(sent)
	}))
	defer server.Close()
	c := Cache{Dir: t.TempDir(), Base: server.URL}
	p := pinned(good)
	sent = append(bytes.Clone(good[:len(good)-1]), 'x')
	if _, err := c.Fetch(context.Background(), p); err == nil {
		t.Error("a changed package was taken")
	}
	sent = good
	file, err := c.Fetch(context.Background(), p)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("rot"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Fetch(context.Background(), p); err != nil {
		t.Errorf("a rotten cache is not mended: %v", err)
	}
	gone := p
	gone.SHA256, gone.Path = strings.Repeat("0", 64), "pool/main/b/b.deb"
	if _, err := c.Fetch(context.Background(), gone); err == nil || !strings.Contains(err.Error(), "make image-lock") || !strings.Contains(err.Error(), "a 1") {
		t.Errorf("a package that is gone: %v", err)
	}
}

// TestAMirrorInTroubleIsNotTakenForOneWithoutThePackage: another lock helps only
// where the package is gone.
func TestAMirrorInTroubleIsNotTakenForOneWithoutThePackage(t *testing.T) {
	for _, tc := range []struct {
		status int
		gone   bool
	}{{http.StatusNotFound, true}, {http.StatusGone, true}, {http.StatusServiceUnavailable, false}, {http.StatusForbidden, false},
		{http.StatusProxyAuthRequired, false}, {http.StatusTooManyRequests, false}} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(tc.status) }))
		p := pinned([]byte("a"))
		_, err := Cache{Dir: t.TempDir(), Base: server.URL}.Fetch(context.Background(), p)
		server.Close()
		if err == nil {
			t.Fatalf("%d: a package", tc.status)
		}
		for word, want := range map[string]bool{"make image-lock": tc.gone, "proxy": !tc.gone, fmt.Sprint(tc.status): !tc.gone, server.URL + "/" + p.Path: !tc.gone} {
			if strings.Contains(err.Error(), word) != want {
				t.Errorf("%d: %q in the error must be %v: %v", tc.status, word, want, err)
			}
		}
	}
}

func TestTheMirrorIsTheHostsOwn(t *testing.T) {
	for _, tc := range []struct{ name, asked, file, text, want string }{
		{"asked for", "http://x/debian/", "sources.list", "deb http://y/debian z main", "http://x/debian"},
		{"one line", "", "sources.list", "# deb http://n/debian z main\ndeb [arch=amd64] http://y/debian/ z main\n", "http://y/debian"},
		{"deb822", "", "sources.list.d/a.sources", "Types: deb\n# a remark\nURIs: http://s/debian-security\nSuites: z\n\nTypes: deb\nURIs: http://y/debian\n", "http://y/debian"},
		{"disabled", "", "sources.list.d/a.sources", "Types: deb\nEnabled: no\nURIs: http://y/debian\n", DefaultMirror},
		{"another kind of file", "", "sources.list.d/a.bak", "deb http://y/debian z main", DefaultMirror},
	} {
		etc := t.TempDir()
		if err := os.MkdirAll(filepath.Join(etc, "sources.list.d"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(etc, tc.file), []byte(tc.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := Mirror(tc.asked, etc); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.name, got, tc.want)
		}
	}
}

func TestLibrariesAreFollowedAndNothingElse(t *testing.T) {
	known := map[string]candidate{}
	for _, s := range stanzas("Package: app\nDepends: libb (>= 1), tool, libmissing | libc\nSection: misc\n\nPackage: libb\nDepends: liba\nSection: libs\n\n" +
		"Package: liba\nDepends: libb\nSection: libs\n\nPackage: tool\nSection: misc\n\nPackage: meta\nDepends: app-6.1 (= 1)\n\nPackage: app-6.1\n") {
		known[s["Package"]] = candidate{"main", s}
	}
	for _, tc := range []struct {
		w    Wanted
		want string
		ok   bool
	}{
		{Wanted{Name: "app", Libraries: true}, "app liba libb", true},
		{Wanted{Name: "app"}, "app", true},
		{Wanted{Name: "meta", Follow: "app-6."}, "app-6.1", true},
		{Wanted{Name: "meta", Follow: "app-7."}, "", false},
		{Wanted{Name: "none"}, "", false},
		{Wanted{Name: "none", Optional: true}, "", true},
	} {
		chosen := map[string]bool{}
		err := choose(tc.w, known, chosen)
		var got []string
		for _, n := range []string{"app", "app-6.1", "liba", "libb", "meta", "tool"} {
			if chosen[n] {
				got = append(got, n)
			}
		}
		if (err == nil) != tc.ok || strings.Join(got, " ") != tc.want {
			t.Errorf("%+v: %v, %v", tc.w, got, err)
		}
	}
}

func TestTheCommittedLockIsWhole(t *testing.T) {
	l, err := Load("lock.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range Image {
		// The optional ones too: a mirror may lack microcode and the firmware of network
		// cards, but what we ship may not.
		if _, ok := l.Find(w.Name); !ok && w.Follow == "" {
			t.Errorf("%s is not in the lock: make image-lock", w.Name)
		}
	}
	if _, ok := l.Find("linux-image-6."); !ok {
		t.Error("no kernel in the lock")
	}
}

func TestABadLockIsRefused(t *testing.T) {
	good := pinned([]byte("x"))
	for name, spoil := range map[string]func(p *Package){
		"no hash":            func(p *Package) { p.SHA256 = "12" },
		"a path outside":     func(p *Package) { p.Path = "pool/../../etc/passwd" },
		"another server":     func(p *Package) { p.Path = "http://x/pool/a" },
		"no version":         func(p *Package) { p.Version = "" },
		"an impossible size": func(p *Package) { p.Size = 1 << 40 },
	} {
		p := good
		spoil(&p)
		if (Lock{Packages: []Package{p}}).Validate() == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if (Lock{Packages: []Package{good, good}}).Validate() == nil {
		t.Error("a package twice: taken")
	}
}

func TestAnUnsignedReleaseIsRefused(t *testing.T) {
	for _, text := range []string{"", "Origin: Debian\n", "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nOrigin: x\n-----BEGIN PGP SIGNATURE-----\n\nwsBc\n-----END PGP SIGNATURE-----\n"} {
		if _, err := parseRelease([]byte(text), nil); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}

func FuzzWalk(f *testing.F) {
	f.Add([]byte("!<arch>\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, _, err := member(bytes.NewReader(b), "data.tar"); err == nil {
			io.Copy(io.Discard, r)
		}
		stanzas(string(b))
	})
}
