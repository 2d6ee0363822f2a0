package service_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"beffroi.dev/pkg/citizen/casefile"
	"beffroi.dev/pkg/citizen/front"
	"beffroi.dev/pkg/citizen/service"
	"beffroi.dev/pkg/citizen/store"
	"beffroi.dev/pkg/citizen/web"
	"beffroi.dev/pkg/clock"
	"beffroi.dev/pkg/disk"
	"beffroi.dev/pkg/disk/simdisk"
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

func config() service.Config {
	c := casefile.Contact{Name: "Mairie", Address: "1 place", Phone: "01 02 03 04 05", Email: "m@ville.example"}
	return service.Config{Web: web.Config{Town: "Ville", Contact: c, Services: map[string]casefile.Contact{"voirie": c}, FilingBurst: 1 << 30}}
}

// cable is the way to the shared volume: a node that lost it gets errors, as it
// would from a mirrored volume that another node leads.
type cable struct {
	disk.Device
	cut *atomic.Bool
}

func (c cable) WriteAt(p []byte, off int64) (int, error) {
	if c.cut.Load() {
		return 0, disk.ErrClosed
	}
	return c.Device.WriteAt(p, off)
}

func (c cable) Sync() error {
	if c.cut.Load() {
		return disk.ErrClosed
	}
	return c.Device.Sync()
}

// pair is two nodes on one volume, of which at most one serves.
type pair struct {
	t     *testing.T
	disk  *simdisk.Disk
	epoch uint64
	node  atomic.Pointer[node]
}

type node struct {
	svc  *service.Service
	role atomic.Pointer[service.Role]
	cut  atomic.Bool
}

// take makes a fresh node serve.
func (p *pair) take() {
	p.t.Helper()
	p.epoch++
	n := &node{}
	n.role.Store(&service.Role{Serving: true, Copies: 2, Epoch: p.epoch})
	svc, err := service.Open(p.t.Context(), cable{p.disk, &n.cut}, config(), func() service.Role { return *n.role.Load() }, clock.System{}, quiet)
	if err != nil {
		p.t.Fatal(err)
	}
	n.svc = svc
	p.node.Store(n)
}

// lose ends the serving node without a goodbye.
func (p *pair) lose() {
	n := p.node.Load()
	n.cut.Store(true)
	n.role.Store(&service.Role{Reason: "another node leads"})
	p.node.Store(nil)
	_ = n.svc.Close()
}

func (p *pair) target() front.Target {
	if n := p.node.Load(); n != nil {
		return front.Target{Local: n.svc.Handler()}
	}
	return front.Target{}
}

func form(t testing.TB, place string) (*bytes.Buffer, string) {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for k, v := range map[string]string{"categorie": "eau", "lieu": place, "description": "Une fuite au pied de la borne"} {
		if err := w.WriteField(k, v); err != nil {
			t.Fatal(err)
		}
	}
	_ = w.Close()
	return &b, w.FormDataContentType()
}

var code = regexp.MustCompile(`/suivi/([0-9A-Z-]{16})/recu$`)

// Citizens file all the time while the service changes nodes again and again:
// nobody sees an error, and everybody who got a receipt is there once.
func TestSwitchesAreUnseenAndNothingAcknowledgedIsLost(t *testing.T) {
	p := &pair{t: t, disk: simdisk.New(32 << 20)}
	if err := store.Format(t.Context(), p.disk, store.Config{}, quiet); err != nil {
		t.Fatal(err)
	}
	p.take()
	f, err := front.New(t.Context(), front.DefaultConfig(), p.target, quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	server := httptest.NewServer(f)
	defer server.Close()
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

	ctx, stop := context.WithCancel(t.Context())
	var mu sync.Mutex
	codes := map[string]string{} // by place
	var longest time.Duration
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				place := fmt.Sprintf("rue %d numéro %d", w, i)
				body, kind := form(t, place)
				began := time.Now()
				resp, err := client.Post(server.URL+"/demarches/signalement-voirie/formulaire?jeton="+casefile.NewToken(), kind, body)
				if err != nil {
					t.Error(err)
					return
				}
				_ = resp.Body.Close()
				m := code.FindStringSubmatch(resp.Header.Get("Location"))
				if resp.StatusCode != http.StatusSeeOther || m == nil {
					t.Errorf("a citizen saw %d", resp.StatusCode)
					return
				}
				mu.Lock()
				codes[place] = m[1]
				longest = max(longest, time.Since(began))
				mu.Unlock()
			}
		})
	}
	switches := 12
	if testing.Short() {
		switches = 4
	}
	for range switches {
		time.Sleep(60 * time.Millisecond)
		p.lose()
		time.Sleep(30 * time.Millisecond)
		p.take()
	}
	time.Sleep(50 * time.Millisecond)
	stop()
	wg.Wait()

	readBack(t, client, server.URL, codes)
	p.lose()
	if n := count(t, p.disk); n != len(codes) {
		t.Errorf("%d cases for %d receipts", n, len(codes))
	}
	t.Logf("%d filings, %d switches, longest wait %v", len(codes), switches, longest)
}

// readBack follows every receipt to its case.
func readBack(t *testing.T, client *http.Client, url string, codes map[string]string) {
	t.Helper()
	for place, c := range codes {
		resp, err := client.Get(url + "/suivi/" + c)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode != 200 || !bytes.Contains(b, []byte(place)) {
			t.Errorf("acknowledged %s at %q: %d", c, place, resp.StatusCode)
		}
	}
}

// count opens the volume once more and counts the cases.
func count(t *testing.T, d disk.Device) (n int) {
	t.Helper()
	st, err := store.Open(t.Context(), d, store.Config{}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	if err := st.Verify(t.Context()); err != nil {
		t.Error(err)
	}
	err = st.Read(t.Context(), "count", func(ctx context.Context, tx *store.Tx) error {
		return tx.QueryRowContext(ctx, `SELECT count(*) FROM casefile`).Scan(&n)
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestOpenRefusesABlankVolumeAndABadConfiguration(t *testing.T) {
	role := func() service.Role { return service.Role{} }
	if _, err := service.Open(t.Context(), simdisk.New(8<<20), config(), role, clock.System{}, quiet); err == nil {
		t.Error("a blank volume was opened")
	}
	if _, err := service.Open(t.Context(), simdisk.New(8<<20), service.Config{}, role, clock.System{}, quiet); err == nil {
		t.Error("an empty configuration was accepted")
	}
}

// BenchmarkFiling is a filing without photo over HTTP, durable on a real file.
func BenchmarkFiling(b *testing.B) {
	path := filepath.Join(b.TempDir(), "volume")
	if err := disk.CreateFile(path, 512<<20); err != nil {
		b.Fatal(err)
	}
	d, err := disk.OpenFile(path)
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	if err := store.Format(b.Context(), d, store.Config{}, quiet); err != nil {
		b.Fatal(err)
	}
	svc, err := service.Open(b.Context(), d, config(), func() service.Role { return service.Role{Serving: true, Copies: 2, Epoch: 1} }, clock.System{}, quiet)
	if err != nil {
		b.Fatal(err)
	}
	defer svc.Close()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			body, kind := form(b, "12 rue de la Poste")
			q := httptest.NewRequest("POST", "/demarches/signalement-voirie/formulaire?jeton="+casefile.NewToken(), body)
			q.Header.Set("Content-Type", kind)
			rec := httptest.NewRecorder()
			svc.Handler().ServeHTTP(rec, q)
			if rec.Code != http.StatusSeeOther {
				b.Fatalf("status %d", rec.Code)
			}
		}
	})
}
