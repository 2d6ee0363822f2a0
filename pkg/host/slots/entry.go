package slots

import (
	"fmt"
	"regexp"
	"strconv"
)

// Entry is what the name of a kernel image says.
type Entry struct {
	Version string
	Trial   bool // its tries are counted
	Left    int  // tries, while on trial
	Done    int
}

var entryName = regexp.MustCompile(`^beffroi_([0-9][0-9a-z.~-]{0,63}?)(?:\+([0-9]{1,3})(?:-([0-9]{1,3}))?)?\.efi$`)

// Parse reads a file's name, without its folder.
func Parse(name string) (Entry, error) {
	m := entryName.FindStringSubmatch(name)
	if m == nil {
		return Entry{}, fmt.Errorf("%.100q is not the name of a boot entry", name)
	}
	e := Entry{Version: m[1], Trial: m[2] != ""}
	e.Left, _ = strconv.Atoi(m[2]) // digits, or nothing
	e.Done, _ = strconv.Atoi(m[3])
	return e, nil
}

// Name is the file's name.
func (e Entry) Name() string {
	switch {
	case !e.Trial:
		return fmt.Sprintf("beffroi_%s.efi", e.Version)
	case e.Done == 0:
		return fmt.Sprintf("beffroi_%s+%d.efi", e.Version, e.Left)
	}
	return fmt.Sprintf("beffroi_%s+%d-%d.efi", e.Version, e.Left, e.Done)
}

// Blessed is the entry when its trial is over.
func (e Entry) Blessed() Entry { return Entry{Version: e.Version} }
