package boot

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"beffroi.dev/appliance/control"
	"beffroi.dev/appliance/status"
)

// clockEvery is the time between two looks at what the other voters say.
const clockEvery = 15 * time.Second

// clockAtStart is how long after power-on a correction says something of the battery. A
// clock that is wrong later was stopped, as a machine that was frozen.
const clockAtStart = 2 * time.Minute

// clockByBattery is the least that a dead battery loses: it forgets the date. A machine
// that was frozen just after its start, as a virtual one, lost seconds or minutes.
const clockByBattery = time.Hour

// tellsOfBattery says whether a correction that long after power-on is told to people.
func tellsOfBattery(up, by time.Duration) bool {
	return up <= clockAtStart && by.Abs() >= clockByBattery
}

// setClock moves a clock that is before the release was built up to that time: a
// dead battery must not make the node write files from 1970. It is a guess, until
// the other voters tell the time.
func (s *system) setClock(context.Context) (string, error) {
	var c status.Clock
	was, note := time.Now(), ""
	if !s.release.Built.IsZero() && was.Before(s.release.Built) {
		if err := setTime(s.release.Built); err != nil {
			return "", err
		}
		c.Guess = true
		note = fmt.Sprintf("was %s, before this release was built; the battery may be dead", was.Format(time.DateOnly))
	}
	if _, err := status.LoadClock(s.dir.Clock()); err == nil {
		return note, nil // an earlier life of init has told
	}
	return note, status.SaveClock(s.dir.Clock(), c)
}

// keepClock corrects the clock by those of the other voters, for as long as init
// lives.
func (s *system) keepClock(ctx context.Context) error {
	client := control.NewClient(s.dir.Socket("node"))
	for tick := time.NewTicker(clockEvery); ; {
		select {
		case <-ctx.Done():
			tick.Stop()
			return nil
		case <-tick.C:
		}
		n, err := client.Status(ctx)
		if err != nil || n.WrongMS == 0 {
			continue
		}
		by := time.Duration(n.WrongMS) * time.Millisecond
		was := time.Now()
		if err := setTime(was.Add(by)); err != nil {
			s.log.Error("the clock is wrong and cannot be corrected", "by", by, "cause", err)
			continue
		}
		s.log.Warn("the clock was wrong, and is corrected by those of the other voters", "was", was.Format(time.RFC3339), "by", by)
		if !tellsOfBattery(uptime(), by) {
			continue
		}
		if err := status.SaveClock(s.dir.Clock(), status.Clock{Corrected: n.WrongMS, At: time.Now()}); err != nil {
			s.log.Error("the correction of the clock is not told", "cause", err)
		}
	}
}

// setTime sets the kernel's clock, and the one with the battery, which may not be
// there.
func setTime(t time.Time) error {
	tv := unix.NsecToTimeval(t.UnixNano())
	if err := unix.Settimeofday(&tv); err != nil {
		return fmt.Errorf("set the clock: %w", err)
	}
	f, err := os.OpenFile("/dev/rtc0", os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("set the hardware clock: %w", err)
	}
	defer f.Close()
	u := t.UTC()
	rtc := unix.RTCTime{
		Sec: int32(u.Second()), Min: int32(u.Minute()), Hour: int32(u.Hour()),
		Mday: int32(u.Day()), Mon: int32(u.Month()) - 1, Year: int32(u.Year()) - 1900,
	}
	if err := unix.IoctlSetRTCTime(int(f.Fd()), &rtc); err != nil {
		return fmt.Errorf("set the hardware clock: %w", err)
	}
	return nil
}
