package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// again looks at machines that are there already: `up` starts them with what they
// hold, which is precious. It refuses what was asked for and is not so, and says when
// the nodes' disks hold another image than the one that lies there now.
func again(lab Lab, o options, out io.Writer) error {
	var wrong []string
	for _, f := range []struct{ name, asked, is string }{
		{"mode", o.mode, lab.Mode},
		{"profile", o.profile, lab.Profile},
		{"store", fmt.Sprint(o.storeSize >> 20), fmt.Sprint(lab.StoreBytes >> 20)},
		{"blank", fmt.Sprint(o.blank), fmt.Sprint(lab.Blank)},
	} {
		known := f.name != "store" || lab.StoreBytes > 0 // a lab.json from before this was kept
		if o.given[f.name] && known && f.asked != f.is {
			wrong = append(wrong, fmt.Sprintf("--%s is %s, not %s", f.name, f.is, f.asked))
		}
	}
	old := ""
	if lab.Mode == "vm" {
		sum, err := sumFile(o.image)
		if err != nil && (o.given["image"] || !errors.Is(err, os.ErrNotExist)) {
			return fmt.Errorf("image: %w", err)
		}
		for _, m := range lab.Nodes {
			if err == nil && m.Mode == "vm" && m.Image != sum {
				old = fmt.Sprintf("the disk of node %s holds image %s, and %s is %s", m.Name, brief(m.Image), o.image, brief(sum))
				break
			}
		}
	}
	if old != "" && o.given["image"] {
		wrong = append(wrong, old)
	}
	anew := fmt.Sprintf("%s up --new erases these machines, their disks and all data, and begins anew", program(lab))
	if len(wrong) > 0 {
		return fmt.Errorf("the machines in %s are there already, and are not what the flags say: %s. Leave these flags out to start them as they are; %s",
			lab.Dir, strings.Join(wrong, "; "), anew)
	}
	fmt.Fprintf(out, "The machines in %s are started again with their state.\n", lab.Dir)
	if old != "" {
		fmt.Fprintf(out, "NOTE: they run another image than the newest: %s. They go on with theirs; %s.\n", old, anew)
	}
	return nil
}

// like are the options for new machines in the place of those of a lab: of its kind,
// where nobody asked for another.
func (o options) like(lab Lab) options {
	if !o.given["mode"] {
		o.mode = lab.Mode
	}
	if !o.given["profile"] && o.mode == lab.Mode {
		o.profile = lab.Profile
	}
	if !o.given["store"] && lab.StoreBytes > 0 {
		o.storeSize = lab.StoreBytes
	}
	if !o.given["blank"] {
		o.blank = lab.Blank
	}
	return o
}

// erase takes the machines of a lab away: what the lab has made in its folder, and
// nothing else that may lie there. Its description goes last, so that what is
// interrupted can be done again.
func erase(lab Lab) error {
	var all []string
	for _, m := range lab.Nodes {
		if filepath.Dir(m.Dir) != lab.Dir {
			return fmt.Errorf("erase: node %s lies in %s, which is not in the lab's folder %s", m.Name, m.Dir, lab.Dir)
		}
		if len(processes(m)) > 0 {
			return fmt.Errorf("erase: processes of node %s still run; stop them first: %s down", m.Name, program(lab))
		}
		all = append(all, m.Dir)
	}
	all = append(all, lab.TokenFile, lab.Password, lab.Socket, filepath.Join(lab.Dir, "daemon.log"), filepath.Join(lab.Dir, "lab.json"))
	for _, path := range all {
		if err := os.RemoveAll(path); err != nil {
			return fmt.Errorf("erase: %w", err)
		}
	}
	return nil
}

// flagsGiven are the flags that somebody set.
func flagsGiven(fs *flag.FlagSet) map[string]bool {
	given := map[string]bool{}
	fs.Visit(func(f *flag.Flag) { given[f.Name] = true })
	return given
}

// sumFile is the SHA-256 of a file, as sha256sum and the image's manifest name it.
func sumFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// brief is the beginning of an image's SHA-256, enough for a person to tell two apart.
func brief(sum string) string {
	if sum == "" {
		return "(an older one)"
	}
	return sum[:min(12, len(sum))]
}
