package agents

import (
	"net/http"
	"time"
)

// Agent is one person of the town hall.
type Agent struct {
	Name      string     `json:"name"`
	Display   string     `json:"display"`
	Made      time.Time  `json:"made"`
	LastLogin *time.Time `json:"last_login,omitempty"`
	Closed    *time.Time `json:"closed,omitempty"` // may not log in since
}

// New asks for an agent.
type New struct {
	Name     string `json:"name"`
	Display  string `json:"display"`
	Password string `json:"password"`
	By       string `json:"by,omitempty"` // the operator who asks
}

// Renewal asks for a new password, if there is one, and with Secret for a new one-time
// secret. To reopen takes both, whatever Secret says.
type Renewal struct {
	Password string `json:"password,omitempty"`
	Secret   bool   `json:"secret,omitempty"`
	By       string `json:"by,omitempty"`
}

// Closing asks for an end.
type Closing struct {
	By string `json:"by,omitempty"`
}

// Closed is the answer to a Closing; false if it was so already.
type Closed struct {
	Changed bool `json:"changed"`
}

// Enrolment is what the agent's telephone needs. It is told once.
type Enrolment struct {
	Secret string `json:"secret,omitempty"`
	URI    string `json:"uri,omitempty"` // otpauth://
}

// Code tells errors apart.
type Code string

// The codes.
const (
	BadRequest  Code = "bad-request" // not what the protocol allows
	BadName     Code = "bad-name"
	BadDisplay  Code = "bad-display"
	BadPassword Code = "bad-password"
	Nothing     Code = "nothing"     // a renewal of nothing
	Exists      Code = "exists"      // the name is taken, for ever
	Unknown     Code = "unknown"     // nobody has the name
	IsClosed    Code = "closed"      // reopen, do not renew
	IsOpen      Code = "open"        // renew, do not reopen
	NotServing  Code = "not-serving" // this node does not serve citizens
	Failed      Code = "failed"
)

// Status is the HTTP status that goes with a code.
func (c Code) Status() int {
	switch c {
	case BadRequest, BadName, BadDisplay, BadPassword, Nothing:
		return http.StatusBadRequest
	case Unknown:
		return http.StatusNotFound
	case Exists, IsClosed, IsOpen:
		return http.StatusConflict
	case NotServing:
		return http.StatusMisdirectedRequest
	}
	return http.StatusServiceUnavailable
}

// Error is what was not done.
type Error struct {
	Message string `json:"error"`
	Code    Code   `json:"code"`
}

func (e *Error) Error() string { return e.Message }
