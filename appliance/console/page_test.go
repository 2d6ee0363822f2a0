package console

import (
	"errors"
	"html"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"beffroi.dev/appliance/status"
	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/cluster"
)

// draw gives the text of the live page for a status.
func draw(t *testing.T, lang string, role cluster.Role, s snapshot, now time.Time) (markup, words string) {
	t.Helper()
	catalogue, err := loadWords()
	if err != nil {
		t.Fatal(err)
	}
	v, err := loadViews()
	if err != nil {
		t.Fatal(err)
	}
	p := build(s, reader{Lang: lang, words: catalogue, who: visitor{"admin", role}, Path: "/"}, "a", now)
	var b strings.Builder
	if err := v.all.ExecuteTemplate(&b, "live", p); err != nil {
		t.Fatal(err)
	}
	words = html.UnescapeString(regexp.MustCompile(`<[^>]*>`).ReplaceAllString(b.String(), " "))
	words = strings.NewReplacer("\u00a0", " ", "\u202f", " ").Replace(words)
	return b.String(), strings.Join(strings.Fields(words), " ")
}

func TestThePageSaysWhatIs(t *testing.T) {
	now := time.Date(2026, 11, 24, 10, 0, 0, 0, time.Local)
	solo := func(n *status.Node) {
		n.Groups[0].InSync, n.Store.Groups[0].Copies, n.Citizen.Copies = []ident.Node{self}, 1, 1
		n.Problem = append(n.Problem, status.Problem{Code: "solo", Level: "warning", Object: "citizen"})
	}
	for _, c := range []struct {
		name   string
		change func(n *status.Node)
		fr, en []string
	}{
		{"in sync", func(*status.Node) {},
			[]string{"Tout va bien : rien à faire.", "deux copies à jour", "servi par a", "compteur 1 processeur, 512 Mio en marche", "Fibre 1 0,31 ms données", "Réseau non visible d'ici", "est de nouveau sur les deux sites"},
			[]string{"All is well: nothing to do.", "in sync", "served by a", "running", "Fibre 1 0.31 ms data", "is at both sites again"}},
		{"solo", solo, []string{"Une seule copie à jour : citizen", "copie unique sur a", "un seul site"}, []string{"Only one copy is up to date: citizen", "solo on a", "at one site only"}},
		{"resync", func(n *status.Node) {
			solo(n)
			n.Store.Groups[0].Resync = &status.Resync{Running: true, CopiedBytes: 42 << 20, DirtyBytes: 58 << 20, LeftMS: 90_000}
		}, []string{"resynchronisation 42 %", "reste 58 Mio, fin prévue à 10:01:30"}, []string{"resync 42%", "58 MiB left, expected end at 10:01:30"}},
		{"twin dead", func(n *status.Node) {
			solo(n)
			n.Members[1].Up, n.Store.Linked = false, false
			for i := range n.Links {
				n.Links[i].Up, n.Links[i].Data = n.Links[i].Peer == third, false
			}
			n.Problem = append(n.Problem, status.Problem{Code: "twin-silent", Level: "error", Object: "b"})
		}, []string{"Le nœud b ne répond plus", "site de b, puis", "Fibre 1 ✕ coupée", "a travaille seul", "2 votants sur 3"}, []string{"Node b does not answer", "Fibre 2 ✕ down", "a works alone"}},
		{"witness silent", func(n *status.Node) {
			n.Members[2].Up = false
			n.Problem = []status.Problem{{Code: "witness-silent", Level: "warning", Object: "witness"}}
		}, []string{"Attention Le témoin ne répond plus", "Témoin ne répond pas"}, []string{"Warning The witness does not answer", "Witness does not answer"}},
		{"store failed", func(n *status.Node) {
			n.Store.Failed = "sync: input/output error"
			n.Problem = []status.Problem{{Code: "store-failed", Level: "error", Object: "a"}}
		}, []string{"Urgent Le disque du nœud a est en panne", "en panne : sync: input/output error"}, []string{"The disk of node a has failed", "failed: sync"}},
		{"no majority", func(n *status.Node) {
			n.Votes.Vouched, n.Store.Groups[0].Readable = false, false
			n.Problem = []status.Problem{{Code: "no-majority", Level: "error"}}
		}, []string{"Ce nœud est isolé : pas de majorité", "isolé, sans majorité", "en attente de décision"}, []string{"no majority", "waiting for a decision"}},
		{"one link cut", func(n *status.Node) {
			n.Links[0].Up, n.Links[4].Up = false, false
			n.Problem = []status.Problem{{Code: "link-down", Level: "warning", Object: "fibre1 to b (vote)"}, {Code: "link-down", Level: "warning", Object: "fibre1 to b (data)"}}
		}, []string{"Liaison coupée : Fibre 1 vers b Une autre"}, []string{"Link down: Fibre 1 to b Another"}},
		{"an old store is not made up", func(n *status.Node) { n.Store.Age = 9000 },
			[]string{"pas de nouvelles depuis 9 s", "le stockage ne donne plus de nouvelles"}, []string{"no news for 9 s", "the store gives no news"}},
		{"a guest's network cards", func(n *status.Node) { n.AllVMs[0].Cards = []string{"52:30:09:b3:6f:5c", "52:30:09:b3:6f:5d"} },
			[]string{"512 Mio 52:30:09:b3:6f:5c 52:30:09:b3:6f:5d en marche"}, []string{"52:30:09:b3:6f:5d running"}},
		{"a guest in process mode", func(n *status.Node) { n.VMs[0].PID, n.VMs[0].Network = 7, status.NetworkProcess },
			[]string{"en marche sans réseau (mode processus)"}, []string{"running no network (process mode)"}},
		{"a problem of a later release", func(n *status.Node) { n.Problem = []status.Problem{{Code: "new-thing", Level: "info", Object: "x"}} },
			[]string{"Information new-thing x"}, []string{"Information new-thing x"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := healthy()
			c.change(&n)
			for lang, want := range map[string][]string{"fr": c.fr, "en": c.en} {
				markup, words := draw(t, lang, cluster.RoleAdmin, snapshot{node: n, at: now}, now)
				for _, w := range want {
					if !strings.Contains(words, w) {
						t.Errorf("%s: %q is not on the page:\n%s", lang, w, words)
					}
				}
				if strings.Contains(words, "%!") || strings.Contains(words, "%s") {
					t.Errorf("%s: words lack a value:\n%s", lang, words)
				}
				if bad := regexp.MustCompile(`(?i)<script(>| [^>]*>[^<])|<style|\sstyle=|\son[a-z]+=|javascript:`).FindString(markup); bad != "" {
					t.Errorf("%s: inline script or style: %q", lang, bad)
				}
			}
		})
	}
}

func TestASilentNodeServiceIsSaidAndWhatIsShownIsOld(t *testing.T) {
	now := time.Now()
	s := snapshot{node: healthy(), at: now.Add(-30 * time.Second), fault: errors.New("connection refused")}
	_, words := draw(t, "fr", cluster.RoleAdmin, s, now)
	for _, want := range []string{"de ce nœud ne répond pas", "Données vieilles de 30 s", "dernier état connu", "état inconnu"} {
		if !strings.Contains(words, want) {
			t.Errorf("%q is not on the page:\n%s", want, words)
		}
	}
	if strings.Contains(words, "deux copies à jour rien") || strings.Contains(words, "Tout va bien") {
		t.Errorf("an old state is shown as the present one:\n%s", words)
	}
}

func TestControlsFollowTheRole(t *testing.T) {
	now := time.Now()
	for role, want := range map[cluster.Role]bool{cluster.RoleAdmin: true, cluster.RoleOperator: true, cluster.RoleViewer: false} {
		markup, _ := draw(t, "fr", role, snapshot{node: healthy(), at: now}, now)
		for _, act := range []string{"switch/citizen", "shutdown/compteur", "off/compteur"} {
			if got := strings.Contains(markup, `href="/act/`+act); got != want {
				t.Errorf("%s sees %s: %t, want %t", role, act, got, want)
			}
		}
	}
}

func TestWordsTakeTheSameValuesInBothLanguages(t *testing.T) {
	c, err := loadWords()
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range slices.Sorted(maps.Keys(c)) {
		if fr, en := verbs(c[key].Fr), verbs(c[key].En); fr != en {
			t.Errorf("%s takes %d values in French, %d in English", key, fr, en)
		}
	}
}

func TestRatesAreBetweenReports(t *testing.T) {
	f := newFeed(Config{Every: time.Second, Rest: 5 * time.Second}, nil, nil)
	start := time.Unix(1_800_000_000, 0)
	var points []point
	for i, acked := range []uint64{100, 200, 260, 5} {
		points = f.rates(points, &status.Store{Counters: status.Counters{Acked: acked}}, start.Add(time.Duration(2*i)*time.Second))
	}
	want := []point{{rate: 0, gap: true}, {rate: 50}, {rate: 30}, {gap: true}} // the last: its service started again
	for i, p := range points {
		if p.rate != want[i].rate || p.gap != want[i].gap {
			t.Errorf("point %d: %+v, want %+v", i, p, want[i])
		}
	}
}
