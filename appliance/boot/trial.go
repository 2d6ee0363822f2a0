package boot

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"beffroi.dev/appliance/control"
	"beffroi.dev/appliance/status"
	"beffroi.dev/pkg/host/rootfs"
	"beffroi.dev/pkg/host/slots"
	"beffroi.dev/pkg/quorum/cluster"
)

const (
	espName = "ESP"
	espPath = "/run/beffroi/esp"
	// trialBound is how long a boot on trial may go on without being good, by
	// causes that lie in the image.
	trialBound = 10 * time.Minute
	trialEvery = 2 * time.Second
	// lookBound is how long a look may take, and freshness how old a report may be.
	lookBound = 4 * time.Second
	freshness = 10 * time.Second
)

// Cause is why a boot on trial is not good; the console has words for each.
type Cause string

// The causes. Those with a detail say so.
const (
	PhaseFails   Cause = "phase-fails" // detail: the phase, which is tried again and again
	NodeSilent   Cause = "node-silent" // detail: the error
	NoMajority   Cause = "no-majority"
	TwinUnknown  Cause = "twin-unknown" // neither seen nor declared absent
	StoreSilent  Cause = "store-silent"
	StoreFailed  Cause = "store-failed"  // detail: the store's cause
	MirrorBehind Cause = "mirror-behind" // detail: the volume
	VMSilent     Cause = "vm-silent"
	NoCitizens   Cause = "no-citizens" // the pair has no citizen service yet
	PageSilent   Cause = "page-silent" // detail: the error
	NotBlessed   Cause = "not-blessed" // detail: why the entry could not be renamed
)

// Causes lists them all.
func Causes() []Cause {
	return []Cause{PhaseFails, NodeSilent, NoMajority, TwinUnknown, StoreSilent, StoreFailed, MirrorBehind, VMSilent, NoCitizens, PageSilent, NotBlessed}
}

// verdict is what a look at a boot on trial says.
type verdict struct {
	good    bool
	outside bool   // the cause does not lie in the image: the trial's time stands still
	back    bool   // the machine goes back to another entry when that time is over
	cause   Cause  // not good
	detail  string // of the cause
}

// judge says whether a boot is good: the twin was seen or is declared absent, the
// mirror's state is known, VMs can be started, the citizens' page answers. It is pure.
func judge(n status.Node, silent, page error) verdict {
	if silent != nil {
		return verdict{cause: NodeSilent, detail: silent.Error()}
	}
	if !n.Votes.Vouched {
		return verdict{outside: true, cause: NoMajority}
	}
	if !twinUp(n) && slices.ContainsFunc(n.Groups, func(g status.Group) bool { return len(g.InSync) != 1 }) {
		return verdict{outside: true, cause: TwinUnknown}
	}
	st := n.Store
	switch {
	case st == nil || st.Age > freshness.Milliseconds():
		return verdict{cause: StoreSilent}
	case st.Failed != "":
		return verdict{cause: StoreFailed, detail: st.Failed}
	}
	for _, g := range n.Groups {
		i := slices.IndexFunc(st.Groups, func(l status.LocalGroup) bool { return l.ID == g.ID })
		if i < 0 || st.Groups[i].Epoch != g.Epoch {
			return verdict{cause: MirrorBehind, detail: g.Name}
		}
	}
	if slices.ContainsFunc(n.Problem, func(p status.Problem) bool { return p.Code == "vm-silent" }) {
		return verdict{cause: VMSilent}
	}
	if !slices.ContainsFunc(n.Groups, func(g status.Group) bool { return g.Citizen }) {
		return verdict{outside: true, cause: NoCitizens}
	}
	if page != nil {
		return verdict{cause: PageSilent, detail: page.Error()}
	}
	return verdict{good: true}
}

// judgePhases says how a boot fares whose phases are not over. What makes one fail may lie
// in this release, as a driver that it lacks, a network card's too; but a machine without
// another one is left to who stands before it. A phase that hangs is the watchdog's. It is
// pure.
func judgePhases(failing string, another bool) verdict {
	if failing == "" {
		return verdict{outside: true}
	}
	return verdict{outside: !another, back: another, cause: PhaseFails, detail: failing}
}

func twinUp(n status.Node) bool {
	return slices.ContainsFunc(n.Members, func(m status.Member) bool {
		return m.Kind == string(cluster.KindNode) && m.ID != n.ID && m.Up
	})
}

// Trial is how the entry that was booted fares, for the serial console.
type Trial struct {
	Entry  string `json:"entry,omitempty"` // empty: blessed, or not told by the firmware
	State  string `json:"state"`           // on-trial, good, failed
	Cause  Cause  `json:"cause,omitempty"` // not good
	Detail string `json:"detail,omitempty"`
	Back   bool   `json:"back,omitempty"` // when its time is over the machine goes back to another release
}

// trial counts the time of a boot on trial. It is pure.
type trial struct {
	entry   slots.Entry
	another bool // release that the loader may start
	left    time.Duration
}

// step takes a verdict after some time, and says what the console shows and whether
// the machine is to reboot. After its last try the loader takes another entry, if there is
// one; if there is none it would only take this one again.
func (t *trial) step(v verdict, passed time.Duration) (show Trial, reboot bool) {
	show = Trial{Entry: t.entry.Name(), State: "on-trial", Cause: v.cause, Detail: v.detail, Back: v.back}
	if v.good {
		show.State = "good"
		return show, false
	}
	if !v.outside {
		t.left -= passed
	}
	if t.left > 0 {
		return show, false
	}
	show.State = "failed"
	return show, t.entry.Left > 0 || t.another
}

// onTrial is the entry that was booted, if it is on trial, and whether there is another.
// The firmware's variables may be there only after some phases: a driver shows them.
func (s *system) onTrial(ctx context.Context, seq *Sequence) (e slots.Entry, another bool) {
	for {
		_, over := seq.Progress()
		e, err := slots.Booted(slots.Variables)
		if e.Trial {
			if another, err = slots.Another(slots.Variables, e); err != nil {
				s.log.Warn("whether there is another release is not known", "cause", err)
			}
			return e, another
		}
		if over {
			if err != nil {
				s.log.Warn("whether this boot is on trial is not known", "cause", err)
			}
			return e, false
		}
		select {
		case <-ctx.Done():
			return slots.Entry{}, false
		case <-time.After(trialEvery):
		}
	}
}

// watchTrial watches a boot on trial until it is good, and blesses it, or until its time is
// over.
func (s *system) watchTrial(ctx context.Context, seq *Sequence, reboot func()) error {
	e, another := s.onTrial(ctx, seq)
	if !e.Trial {
		return nil
	}
	t := trial{entry: e, another: another, left: trialBound}
	client := control.NewClient(s.dir.Socket("node"))
	for tick := time.NewTicker(trialEvery); ; {
		var v verdict
		if failing, over := seq.Progress(); over {
			v = s.look(ctx, client)
		} else {
			v = judgePhases(failing, another)
		}
		if v.good {
			if err := s.bless(e); err != nil {
				v = verdict{outside: true, cause: NotBlessed, detail: err.Error()} // the disk's fault, or the loader's
			}
		}
		show, over := t.step(v, trialEvery)
		if seq.SetTrial(show) {
			s.log.Info("boot on trial", "entry", show.Entry, "state", show.State, "cause", show.Cause, "detail", show.Detail)
		}
		switch {
		case v.good:
			return nil
		case over:
			s.log.Error("this boot did not become good: the machine reboots, and the loader takes another try", "cause", v.cause, "detail", v.detail)
			reboot()
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// look asks the node service and the citizens' page.
func (s *system) look(ctx context.Context, c *control.Client) verdict {
	ctx, cancel := context.WithTimeout(ctx, lookBound)
	defer cancel()
	n, err := c.Status(ctx)
	if err != nil {
		return judge(n, err, nil)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.node.Citizen.Listen+"/", nil)
	if err != nil {
		return judge(n, nil, err)
	}
	res, err := http.DefaultClient.Do(req)
	if err == nil {
		_ = res.Body.Close() // its status is all that is asked for
		if res.StatusCode != http.StatusOK {
			err = errors.New(res.Status)
		}
	}
	return judge(n, nil, err)
}

// bless renames the entry on the EFI system partition, which is mounted for that
// moment only.
func (s *system) bless(e slots.Entry) (err error) {
	p, err := rootfs.FindPartition(classBlock, espName)
	if err != nil {
		return err
	}
	for _, name := range []string{"vfat", "nls_cp437", "nls_ascii"} {
		if err := s.modules.Load(name); err != nil && !errors.Is(err, rootfs.ErrNoModule) {
			return fmt.Errorf("mount the EFI system partition: %w", err)
		}
	}
	if err := os.MkdirAll(espPath, 0o700); err != nil {
		return fmt.Errorf("mount the EFI system partition: %w", err)
	}
	const quiet = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_DIRSYNC
	if err := unix.Mount(p.Path, espPath, "vfat", quiet, "umask=0077,iocharset=ascii,errors=remount-ro"); err != nil {
		return fmt.Errorf("mount the EFI system partition: %w", err)
	}
	defer func() {
		if gone := unix.Unmount(espPath, 0); gone != nil {
			err = cmp.Or(err, fmt.Errorf("leave the EFI system partition: %w", gone))
		}
	}()
	return slots.Bless(espPath, e)
}
