package rescue

import (
	"fmt"
	"strings"
	"time"
)

// Lang is the reader's language.
type Lang int

// The languages; French is the reference.
const (
	French Lang = iota
	English
)

// typography gives French its no-break spaces; the table is written without them.
var typography = strings.NewReplacer(" :", "\u00a0:", " ;", "\u00a0;", " ?", "\u00a0?", " !", "\u00a0!", "« ", "«\u00a0", " »", "\u00a0»")

// say words something in a language. A key that the table lacks is shown as it is:
// at night a strange word is better than none.
func say(l Lang, key string, args ...any) string {
	w, ok := words[key]
	if !ok {
		return key
	}
	text := w[l]
	if l == French {
		text = typography.Replace(text)
	}
	if len(args) > 0 { // a sentence may leave the last values out
		text = fmt.Sprintf(text, args[:min(len(args), strings.Count(text, "%"))]...)
	}
	return text
}

// known words what others named, if the table has it, and repeats it if not.
func known(l Lang, prefix, name string) string {
	if _, ok := words[prefix+name]; ok {
		return say(l, prefix+name)
	}
	return name
}

// span is a duration in at most two units.
func span(l Lang, d time.Duration) string {
	d = max(d, 0).Round(time.Second)
	days, hours, minutes, seconds := int(d.Hours())/24, int(d.Hours())%24, int(d.Minutes())%60, int(d.Seconds())%60
	switch {
	case days > 0:
		return say(l, "span.days", days, hours)
	case hours > 0:
		return fmt.Sprintf("%d\u00a0h\u00a0%02d", hours, minutes)
	case minutes > 0 && minutes < 10 && seconds > 0:
		return fmt.Sprintf("%d\u00a0min\u00a0%02d\u00a0s", minutes, seconds)
	case minutes > 0:
		return fmt.Sprintf("%d\u00a0min", minutes)
	}
	return fmt.Sprintf("%d\u00a0s", seconds)
}

// minutes is a duration that changes once a minute: it may stay on screen for hours.
func minutes(l Lang, d time.Duration) string {
	if d < time.Minute {
		return say(l, "span.soon")
	}
	return span(l, d.Truncate(time.Minute))
}

// size is a number of bytes in three digits or so.
func size(l Lang, n int64) string {
	units := []string{"unit.k", "unit.m", "unit.g", "unit.t"}
	v, u := float64(n)/1024, 0
	for v >= 1000 && u < len(units)-1 {
		v, u = v/1024, u+1
	}
	digits := 0
	if v < 10 && u > 0 {
		digits = 1
	}
	text := fmt.Sprintf("%.*f", digits, v)
	if l == French {
		text = strings.Replace(text, ".", ",", 1)
	}
	return text + "\u00a0" + say(l, units[u])
}
