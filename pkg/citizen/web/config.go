package web

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // the appliance's image has no zone files

	"beffroi.dev/pkg/citizen/casefile"
)

// Config is what a town says about itself.
type Config struct {
	Town     string                      // "Ville de Valmont"
	Contact  casefile.Contact            // of the town hall itself; Name is shown in the footer
	Services map[string]casefile.Contact // by the key that definitions use
	// PublicURL is where citizens reach the service, for the printed link. Empty:
	// the host of the request.
	PublicURL string
	// Colour is the town's, as #rrggbb. It must be dark enough for white text.
	Colour string
	Zone   string // of the town's clocks; empty: Europe/Paris
	Secure bool   // the service is reached over HTTPS: cookies say so
	// TrustedProxies may say on whose behalf they ask (the twin's proxy).
	TrustedProxies []netip.Prefix
	// FilingBurst and FilingEvery limit filings from one address: so many at
	// once, then one every so often. Zero: 60 and 2 s, which a school class
	// behind one address never meets.
	FilingBurst int
	FilingEvery time.Duration
}

// DefaultColour is used when a town names none.
const DefaultColour = "#0a5159"

var hexColour = regexp.MustCompile(`^#[0-9a-fA-F]{6}$`)

func (c Config) withDefaults() Config {
	if c.Colour == "" {
		c.Colour = DefaultColour
	}
	if c.Zone == "" {
		c.Zone = "Europe/Paris"
	}
	if c.FilingBurst == 0 {
		c.FilingBurst = 60
	}
	if c.FilingEvery == 0 {
		c.FilingEvery = 2 * time.Second
	}
	c.PublicURL = strings.TrimSuffix(c.PublicURL, "/")
	return c
}

// Validate reports every fault of the configuration.
func (c Config) Validate() error {
	c = c.withDefaults()
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if strings.TrimSpace(c.Town) == "" {
		bad("town: it has no name")
	}
	contact := func(who string, k casefile.Contact) {
		if k.Name == "" || k.Phone == "" || k.Email == "" && k.Address == "" {
			bad("contact of %s: a receipt needs name, telephone, and e-mail or postal address (CRPA R112-11-1)", who)
		}
	}
	contact("the town hall", c.Contact)
	for key, k := range c.Services {
		contact("service "+key, k)
	}
	if !hexColour.MatchString(c.Colour) {
		bad("colour %q: write it as #rrggbb", c.Colour)
	} else if r := contrastWithWhite(c.Colour); r < 4.5 {
		bad("colour %s: its contrast with white is %.1f, RGAA asks for 4.5", c.Colour, r)
	}
	if _, err := time.LoadLocation(c.Zone); err != nil {
		bad("zone: %w", err)
	}
	if c.PublicURL != "" {
		if u, err := url.Parse(c.PublicURL); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			bad("public URL %q: write it like https://demarches.example.fr", c.PublicURL)
		}
	}
	if c.FilingBurst < 1 || c.FilingEvery < 0 {
		bad("limit of filings: %d at once, one every %v", c.FilingBurst, c.FilingEvery)
	}
	return errors.Join(errs...)
}

// contrastWithWhite is the WCAG contrast ratio of a colour and white.
func contrastWithWhite(hex string) float64 {
	channel := func(s string) float64 {
		n, _ := strconv.ParseUint(s, 16, 8) // the pattern was checked
		v := float64(n) / 255
		if v <= 0.03928 {
			return v / 12.92
		}
		return math.Pow((v+0.055)/1.055, 2.4)
	}
	l := 0.2126*channel(hex[1:3]) + 0.7152*channel(hex[3:5]) + 0.0722*channel(hex[5:7])
	return 1.05 / (l + 0.05)
}
