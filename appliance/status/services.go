package status

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
