package packages

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Resolve makes a lock of the wanted packages as the archive has them now.
func (a Archive) Resolve(ctx context.Context, suite string, components []string, wanted []Wanted) (Lock, error) {
	l := Lock{Suite: suite}
	r, err := a.release(ctx, suite)
	if err != nil {
		return l, err
	}
	l.Release = r.version
	known := map[string]candidate{}
	for i, c := range components {
		list, err := a.index(ctx, r, suite, c)
		if err != nil && i > 0 && errors.Is(err, errGone) {
			continue // the optional packages of it are left out
		}
		if err != nil {
			return l, err
		}
		for _, fields := range list {
			if _, twice := known[fields["Package"]]; !twice {
				known[fields["Package"]] = candidate{c, fields}
			}
		}
	}
	chosen := map[string]bool{}
	for _, w := range wanted {
		if err := choose(w, known, chosen); err != nil {
			return l, err
		}
	}
	for name := range chosen {
		p, err := known[name].pin()
		if err != nil {
			return l, err
		}
		l.Packages = append(l.Packages, p)
	}
	return l, l.Validate()
}

// candidate is a package that the archive offers.
type candidate struct {
	component string
	fields    map[string]string
}

func (c candidate) pin() (Package, error) {
	size, err := strconv.ParseInt(c.fields["Size"], 10, 64)
	if err != nil {
		return Package{}, fmt.Errorf("package %s: size: %w", c.fields["Package"], err)
	}
	return Package{Name: c.fields["Package"], Version: c.fields["Version"], Arch: c.fields["Architecture"],
		Component: c.component, Size: size, SHA256: c.fields["SHA256"], Path: c.fields["Filename"]}, nil
}

// depends are the names of the packages that this one needs, of alternatives the
// first.
func (c candidate) depends() []string {
	var names []string
	for _, field := range []string{"Pre-Depends", "Depends"} {
		for d := range strings.SplitSeq(c.fields[field], ",") {
			d, _, _ = strings.Cut(d, "|")
			d, _, _ = strings.Cut(strings.TrimSpace(d), " ")
			if d, _, _ = strings.Cut(d, ":"); d != "" {
				names = append(names, d)
			}
		}
	}
	return names
}

func choose(w Wanted, known map[string]candidate, chosen map[string]bool) error {
	c, ok := known[w.Name]
	if !ok && w.Optional {
		return nil
	}
	if !ok {
		return fmt.Errorf("package %s (%s) is not in the archive", w.Name, w.Why)
	}
	name := w.Name
	if w.Follow != "" {
		name = ""
		for _, d := range c.depends() {
			if strings.HasPrefix(d, w.Follow) {
				name = d
			}
		}
		if c, ok = known[name]; !ok {
			return fmt.Errorf("package %s depends on nothing that begins with %s", w.Name, w.Follow)
		}
	}
	chosen[name] = true
	if w.Libraries {
		addLibraries(c, known, chosen)
	}
	return nil
}

// addLibraries follows dependencies as far as they are shared libraries.
func addLibraries(c candidate, known map[string]candidate, chosen map[string]bool) {
	for _, d := range c.depends() {
		next, ok := known[d]
		if !ok || chosen[d] || next.fields["Section"] != "libs" {
			continue
		}
		chosen[d] = true
		addLibraries(next, known, chosen)
	}
}
