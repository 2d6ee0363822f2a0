package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/cluster"
)

// maxBody bounds everything that is not an image: the longest is a group of
// sixteen volumes.
const maxBody = 64 << 10

var httpStatus = map[Code]int{
	BadInput: http.StatusBadRequest, BadImage: http.StatusUnprocessableEntity, TooLarge: http.StatusRequestEntityTooLarge,
	Unauthenticated: http.StatusUnauthorized, Forbidden: http.StatusForbidden, NotFound: http.StatusNotFound,
	Refused: http.StatusConflict, Elsewhere: http.StatusMisdirectedRequest, Unavailable: http.StatusServiceUnavailable,
	Failed: http.StatusInternalServerError,
}

func badInput(format string, args ...any) *Error {
	return &Error{Code: BadInput, Message: fmt.Sprintf(format, args...)}
}

func notFound(what, name, list string) *Error {
	return &Error{Code: NotFound, Message: fmt.Sprintf("%s %.60q does not exist", what, name), Hint: "GET " + list + " lists what there is"}
}

// explain turns any error into one for the operator.
func explain(err error) *Error {
	var e *Error
	var long *http.MaxBytesError
	switch {
	case errors.As(err, &e):
		return e
	case errors.As(err, &long):
		return &Error{Code: TooLarge, Message: fmt.Sprintf("the body is longer than %d bytes", long.Limit)}
	case errors.Is(err, ident.ErrName):
		return &Error{Code: BadInput, Message: err.Error()}
	case errors.Is(err, cluster.ErrRefused):
		return &Error{Code: Refused, Message: err.Error(), Hint: "the rules of the pair do not allow it: trying again does not help"}
	case errors.Is(err, errNode):
		return &Error{Code: Unavailable, Message: err.Error(), Hint: "the node service does not answer, or two of the three votes cannot be reached; look at the status and try again"}
	}
	return &Error{Code: Failed, Message: err.Error(), Hint: "the node's log may say more"}
}

// errNode is wrapped by everything that the node service could not do.
var errNode = errors.New("node service")

func write(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // a client that is gone needs no answer
}

func writeError(w http.ResponseWriter, err error) {
	e := explain(err)
	if e.Code == Unauthenticated {
		w.Header().Set("WWW-Authenticate", `Bearer realm="beffroi"`)
	}
	write(w, httpStatus[e.Code], e)
}

// read decodes a body, all of it and nothing else.
func read(w http.ResponseWriter, r *http.Request, v any) error {
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	d.DisallowUnknownFields()
	err := d.Decode(v)
	if err == nil {
		if _, more := d.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("something follows it")
		}
	}
	var long *http.MaxBytesError
	if err != nil && !errors.As(err, &long) {
		return badInput("the body is not the JSON that is wanted here: %v", err)
	}
	return err
}

// state asks for the voted state.
func (a *API) state(ctx context.Context) (*cluster.State, error) {
	ctx, cancel := context.WithTimeout(ctx, askBound)
	defer cancel()
	s, err := a.ctl.Watch(ctx, 0)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNode, err)
	}
	return s, nil
}

func (a *API) propose(ctx context.Context, do cluster.Action) (cluster.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, proposeBound)
	defer cancel()
	res, err := a.ctl.Propose(ctx, do)
	if err != nil && !errors.Is(err, cluster.ErrRefused) {
		err = fmt.Errorf("%w: %w", errNode, err)
	}
	return res, err
}
