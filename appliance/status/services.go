package status

import "fmt"

// Service is a service of a node, as its init sees it.
type Service struct {
	Name     string `json:"name"`
	State    string `json:"state"` // stopped, starting, ready, stopping, failed, back-off
	PID      int    `json:"pid,omitempty"`
	Failures int    `json:"failures"`       // in a row
	Said     string `json:"said,omitempty"` // of itself, or how it ended
	Last     string `json:"last,omitempty"` // its last words, when it failed before
}

// Failing reports whether the service fails, or has failed lately and again.
func (s Service) Failing() bool {
	return s.State == "failed" || s.State == "back-off" || s.Failures > 0
}

// Down reports whether it does not work now.
func (s Service) Down() bool { return s.State != "ready" }

// Recovers is what the block service says of itself while it reads its store after a
// power cut; the number is how many MB it has read.
const Recovers = "recovers its store: %d MB read"

// Recovering is how many MB the service has read of a store that it recovers; false if
// it does nothing of the kind.
func (s Service) Recovering() (mb int64, ok bool) {
	if s.State != "starting" {
		return 0, false
	}
	n, err := fmt.Sscanf(s.Said, Recovers, &mb)
	return mb, err == nil && n == 1
}

const maxServices = 32

// servicesVersion is the version of services.json. History:
//
//	1  first
const servicesVersion = 1

// SaveServices writes what init sees.
func SaveServices(path string, list []Service) error {
	return save(path, "services", servicesVersion, list)
}

// LoadServices reads what init saw last.
func LoadServices(path string) ([]Service, error) {
	list, err := load[[]Service](path, "services", servicesVersion)
	return list[:min(len(list), maxServices)], err
}
