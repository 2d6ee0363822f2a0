package vmtest

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"beffroi.dev/tools/filing"
	"beffroi.dev/tools/histories/rig"
	"beffroi.dev/tools/serial"
	"beffroi.dev/tools/vmpair"
)

// Two blank servers become a pair; the one that serves loses its power while reports
// are filed; the other serves on, and the first comes back.
func TestThePairBootsAndOutlivesANode(t *testing.T) {
	p := pair(t)
	walk(t, p, "a")
	memory, err := p.Memory(within(t, seenBound), "b")
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("idle memory of b: %v", memory)
	f := file(t, p)
	f.goOn(t, time.Now())

	victim := settled(t, p)
	heir := rig.Twin(victim)
	killed := time.Now()
	do(t, p, "kill", victim)
	f.goOn(t, time.Now())
	wait := filing.LongestGap(f.Taken(), killed)
	t.Logf("%s, which served, lost its power; longest wait of a filing %.2f s (profile emulated); %d reports are there", victim, wait.Seconds(), f.readBack(t))

	line, err := p.Line(within(t, seenBound), heir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := line.Home(within(t, seenBound)); err != nil {
		t.Fatal(err)
	}
	speak(t, line, serial.French)
	sees(t, line, "URGENT", victim+" ne répond plus", "ne répond pas", "une seule copie à jour, sur "+heir)

	before, err := p.Moved(t.Context(), heir)
	if err != nil {
		t.Fatal(err)
	}
	do(t, p, "start", victim)
	started := time.Now()
	settled(t, p)
	after, err := p.Moved(t.Context(), heir)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s is back and up to date %.1f s after power-on; the resync moved %.1f MB of 256 MB", victim, time.Since(started).Seconds(), float64(after-before)/1e6)
	sees(t, line, "TOUT VA BIEN", "deux copies à jour")
	t.Logf("%d reports acknowledged in all, each there once", f.readAll(t))
}

// walk goes through the console of a node in both languages.
func walk(t *testing.T, p *vmpair.Pair, node string) {
	t.Helper()
	line, err := p.Line(within(t, seenBound), node)
	if err != nil {
		t.Fatal(err)
	}
	begun := line.Received()
	for _, w := range []struct {
		lang    serial.Lang
		status  []string
		entries map[string]string // of the menu, and what each leads to
	}{
		{serial.French, []string{"État du nœud", "TOUT VA BIEN", "Miroir", "deux copies à jour", "majorité", "Témoin", "répond"},
			map[string]string{"Réseau : ports": "Passerelle", "Journaux des services": "> 1. ", "Relancer un service": "> 1. ",
				"Redémarrer ce nœud": "Oui, redémarrer", "Éteindre ce nœud": "RESTE ÉTEINT", "Interpréteur de secours": "Mot de passe", "Déroulement": "Système de fichiers du noyau"},
		},
		{serial.English, []string{"Node status", "ALL IS WELL", "Mirror", "two copies up to date", "majority", "Witness", "answers"},
			map[string]string{"Network: ports": "Gateway", "Logs of the services": "> 1. ", "Restart a service": "> 1. ",
				"Reboot this node": "Yes, reboot", "Power this node off": "STAYS OFF", "Rescue shell": "Password", "How the boot went": "Kernel file systems"},
		},
	} {
		if _, err := line.Home(within(t, seenBound)); err != nil {
			t.Fatal(err)
		}
		speak(t, line, w.lang)
		screen := sees(t, line, w.status...)
		t.Logf("serial line of %s, %s:\n%s", node, w.lang, screen)
		picture(t, line, w.lang)
		for entry, want := range w.entries {
			ctx := within(t, seenBound)
			if _, err := line.Menu(ctx); err != nil {
				t.Fatal(err)
			}
			if err := line.Choose(ctx, entry); err != nil {
				t.Fatal(err)
			}
			sees(t, line, want)
		}
	}
	if _, err := line.Home(within(t, seenBound)); err != nil {
		t.Fatal(err)
	}
	bytes := line.Received() - begun
	t.Logf("the walk took %d bytes, %.1f s of a line of %d baud", bytes, float64(bytes)/(serial.Baud/10), serial.Baud)
}

// picture keeps the screen as a picture, if BEFFROI_SERIAL_PNG names the file; %s is
// the language. README.md shows one.
func picture(t *testing.T, line *serial.Line, lang serial.Lang) {
	t.Helper()
	name := os.Getenv("BEFFROI_SERIAL_PNG")
	if name == "" {
		return
	}
	f, err := os.Create(strings.ReplaceAll(name, "%s", string(lang)))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(line.Picture(f), f.Close()); err != nil {
		t.Fatal(err)
	}
}

func speak(t *testing.T, line *serial.Line, lang serial.Lang) {
	t.Helper()
	if _, err := line.Speak(within(t, seenBound), lang); err != nil {
		t.Fatal(err)
	}
}

// sees waits for texts and checks the frame that every screen has.
func sees(t *testing.T, line *serial.Line, texts ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), seenBound)
	defer cancel()
	screen, err := line.Await(ctx, append(texts, " BEFFROI · ", "F1")...)
	if err != nil {
		t.Fatal(err)
	}
	rows := strings.Split(screen, "\n")
	if !strings.HasPrefix(rows[0], " BEFFROI · ") || !strings.HasPrefix(rows[serial.Height-1], " F1") {
		t.Errorf("the frame is broken:\n%s", screen)
	}
	return screen
}
