package rescue

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// What init says of its watchdog counts: the kernel's files do not show all of them.
func TestTheWatchdogIsTheOneThatInitArmed(t *testing.T) {
	for name, tt := range map[string]struct {
		table string
		want  Watchdog
	}{
		"armed":        {`{"watchdog":{"driver":"IPMI","seconds":30}}`, Watchdog{Known: true, Armed: true, Driver: "IPMI", Timeout: 30 * time.Second}},
		"none":         {`{"phases":[{"name":"watchdog","state":"skipped"}]}`, Watchdog{}},
		"not a table":  {`half`, Watchdog{}},
		"without news": {`{}`, Watchdog{}},
	} {
		file := filepath.Join(t.TempDir(), "boot.json")
		if err := os.WriteFile(file, []byte(tt.table), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := watchdogOf((&System{BootFile: file}).boot()); got != tt.want {
			t.Errorf("%s: %+v; want %+v", name, got, tt.want)
		}
	}
}

func TestANetworkWithoutACardIsListed(t *testing.T) {
	for l, want := range []string{"Fibre 2\u00a0: pas de carte", "Fibre 2: no card"} {
		s := healthy()
		s.Net.Cards[2] = Card{Role: "fibre2"}
		m := model(Lang(l), s)
		press(m, "m\r")
		if got := m.View().Text(); !strings.Contains(got, want) {
			t.Errorf("the network's screen lacks %q:\n%s", want, got)
		}
	}
}
