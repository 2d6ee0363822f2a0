package status

import "time"

// Clock is what init did to the clock of its node in this life of the machine.
type Clock struct {
	// Guess: it was before the release was built, and was set to that time.
	Guess bool `json:"guess,omitempty"`
	// Corrected by so many milliseconds, by the other voters' clocks; zero: not.
	Corrected int64     `json:"corrected_ms,omitempty"`
	At        time.Time `json:"at,omitzero"`
}

// clockVersion is the version of clock.json. History: 1 first.
const clockVersion = 1

// SaveClock writes what init did.
func SaveClock(path string, c Clock) error { return save(path, "clock", clockVersion, c) }

// LoadClock reads what init did last.
func LoadClock(path string) (Clock, error) { return load[Clock](path, "clock", clockVersion) }
