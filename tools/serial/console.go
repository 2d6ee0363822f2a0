package serial

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Lang is a language of the console.
type Lang string

// The languages.
const (
	French  Lang = "fr"
	English Lang = "en"
)

// keyLine of each language offers the other one; the second one is that of a screen
// where letters are typed.
var keyLine = map[Lang][]string{French: {"F2/l English", "F2 English"}, English: {"F2/l Français", "F2 Français"}}

// in reports whether a screen is in a language.
func in(lang Lang, screen string) bool {
	return slices.ContainsFunc(keyLine[lang], func(k string) bool { return strings.Contains(screen, k) })
}

// console waits for any screen of the console.
func (l *Line) console(ctx context.Context) (string, error) {
	return l.until(ctx, "the console", func(s string) bool { return in(French, s) || in(English, s) })
}

// deeper tells a screen from which one goes back.
func deeper(screen string) bool {
	return strings.Contains(screen, "Échap Retour") || strings.Contains(screen, "Esc Back")
}

// again is how long a key stroke is waited for before it is typed again: the
// console may have been drawing its first screen.
const again = 20 * time.Second

// escapePause is longer than what a console waits for the rest of an escape sequence.
const escapePause = 500 * time.Millisecond

// Home brings the console to its first screen, from wherever it is.
func (l *Line) Home(ctx context.Context) (string, error) {
	for {
		look, cancel := context.WithTimeout(ctx, again)
		screen, err := l.console(look)
		cancel()
		if err != nil && ctx.Err() == nil && !IsGone(err) {
			// Not the console: it boots, or an earlier terminal left its shell open.
			if err := l.Press("\x03exit 0\r\x0c"); err != nil {
				return screen, err
			}
			continue
		}
		if err != nil || !deeper(screen) {
			return screen, err
		}
		if err := l.Press("\x1b"); err != nil {
			return screen, err
		}
		// Another key too soon after it would be read as one sequence with it.
		time.Sleep(escapePause)
		try, cancel := context.WithTimeout(ctx, again)
		_, err = l.until(try, "another screen", func(s string) bool { return s != screen })
		cancel()
		if ctx.Err() != nil || IsGone(err) {
			return screen, err
		}
	}
}

// Speak switches the console to a language, from its first screen.
func (l *Line) Speak(ctx context.Context, lang Lang) (string, error) {
	screen, err := l.console(ctx)
	if err != nil {
		return screen, err
	}
	if !in(lang, screen) {
		if err := l.Press("l"); err != nil {
			return screen, err
		}
	}
	return l.until(ctx, "the console in "+string(lang), func(s string) bool { return in(lang, s) })
}

// Menu opens the menu, from the first screen.
func (l *Line) Menu(ctx context.Context) (string, error) {
	if _, err := l.Home(ctx); err != nil {
		return "", err
	}
	if err := l.Press("m"); err != nil {
		return "", err
	}
	return l.until(ctx, "the menu", func(s string) bool { return strings.Contains(s, "> 1. ") && deeper(s) })
}

// Choose does the entry of the list on the screen that contains a text.
func (l *Line) Choose(ctx context.Context, entry string) error {
	screen, err := l.Await(ctx, entry)
	if err != nil {
		return err
	}
	m := regexp.MustCompile(`(?m)^ +(?:> )?([1-9])\. .*` + regexp.QuoteMeta(entry)).FindStringSubmatch(screen)
	if m == nil {
		return fmt.Errorf("no entry %q to choose on\n%s", entry, screen)
	}
	if err := l.Press(m[1]); err != nil {
		return err
	}
	if _, err := l.Await(ctx, "> "+m[1]+". "); err != nil {
		return err
	}
	return l.Press("\r")
}
