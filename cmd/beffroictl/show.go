package main

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// table prints aligned columns, or the value as JSON.
func (p *program) table(v any, head []string, rows [][]string) error {
	if p.json {
		return p.asJSON(v)
	}
	w := tabwriter.NewWriter(p.out, 0, 0, 2, ' ', 0)
	for _, r := range append([][]string{head}, rows...) {
		for i, cell := range r {
			if cell == "" {
				cell = "-"
			}
			end := "\t"
			if i == len(r)-1 {
				end = "\n"
			}
			fmt.Fprint(w, clean(cell)+end)
		}
	}
	return w.Flush()
}

// clean keeps what others wrote (causes, names) from steering the terminal.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return ' '
		}
		return r
	}, s)
}

func (p *program) asJSON(v any) error {
	e := json.NewEncoder(p.out)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// say prints one line for people; with --json nothing.
func (p *program) say(en, fr string, args ...any) error {
	if p.json {
		return nil
	}
	_, err := fmt.Fprintf(p.out, p.tr(en, fr)+"\n", args...)
	return err
}

var units = [...]struct {
	en, fr, short string
	bytes         int64
}{{"TiB", "Tio", "T", 1 << 40}, {"GiB", "Gio", "G", 1 << 30}, {"MiB", "Mio", "M", 1 << 20}, {"KiB", "Kio", "K", 1 << 10}}

// size prints bytes for people.
func (p *program) size(n int64) string {
	for _, u := range units {
		if n >= u.bytes {
			v := strconv.FormatFloat(float64(n)/float64(u.bytes), 'f', 1, 64)
			v = strings.TrimSuffix(v, ".0")
			return p.tr(v+" "+u.en, strings.Replace(v, ".", ",", 1)+" "+u.fr)
		}
	}
	return p.tr(strconv.FormatInt(n, 10)+" B", strconv.FormatInt(n, 10)+" o")
}

// parseSize reads what an operator writes: 20G, 1.5T, 512MiB, 4096.
func parseSize(text string) (int64, error) {
	t := strings.ToUpper(strings.TrimSpace(text))
	t = strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(t, "B"), "O"), "I")
	t = strings.TrimSpace(t)
	times := int64(1)
	for _, u := range units {
		if strings.HasSuffix(t, u.short) {
			t, times = strings.TrimSpace(strings.TrimSuffix(t, u.short)), u.bytes
		}
	}
	v, err := strconv.ParseFloat(strings.Replace(t, ",", ".", 1), 64)
	n := v * float64(times)
	if err != nil || v <= 0 || n >= math.MaxInt64/2 || n != math.Trunc(n) {
		return 0, fmt.Errorf("%.30q: use a number of bytes, or one with K, M, G or T", text)
	}
	return int64(n), nil
}

// when prints a time of day, with its date unless it is today.
func (p *program) when(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	t, now := t.In(p.zone), p.now().In(p.zone)
	if t.Format(time.DateOnly) == now.Format(time.DateOnly) {
		return t.Format(time.TimeOnly)
	}
	return t.Format(p.tr(time.DateOnly, "02/01/2006") + " " + time.TimeOnly)
}

// since prints how long ago something was.
func (p *program) since(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return p.lasting(p.now().Sub(t))
}

// lasting prints a duration in its two largest units.
func (p *program) lasting(d time.Duration) string {
	d = max(d, 0).Round(time.Second)
	day := p.tr("d", "j")
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%d min %d s", d/time.Minute, d%time.Minute/time.Second)
	case d < 24*time.Hour:
		return fmt.Sprintf("%d h %d min", d/time.Hour, d%time.Hour/time.Minute)
	}
	return fmt.Sprintf("%d %s %d h", d/(24*time.Hour), day, d%(24*time.Hour)/time.Hour)
}

func (p *program) yes(b bool) string {
	if b {
		return p.tr("yes", "oui")
	}
	return p.tr("no", "non")
}
