package front

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"time"
)

// The header by which a node says what became of a request that it answers with
// 503; package web sends it.
const (
	retryHeader  = "Beffroi-Retry"
	retryRefused = "refused"
	retryUnknown = "unknown"
)

type heldKey struct{}

// held is a request that can be sent more than once.
type held struct {
	front *Front
	safe  bool          // happens once however often it is sent
	body  []byte        // nil with rest: too large to keep
	rest  io.ReadCloser // what follows body, to be passed through once
	room  int64         // reserved for the body
	sent  bool          // rest was used
	since time.Time
}

// take reads the body, if it fits.
func (f *Front) take(r *http.Request) (*held, error) {
	h := &held{front: f, safe: repeatable(r.Method, r.URL), since: time.Now()}
	if r.Body == nil || r.Body == http.NoBody {
		return h, nil
	}
	h.room = f.cfg.Body
	if r.ContentLength >= 0 {
		h.room = min(h.room, r.ContentLength)
	}
	if f.bodies.Add(h.room) > f.cfg.Bodies {
		h.drop()
		return nil, errors.New("too many large requests are held")
	}
	b, err := io.ReadAll(io.LimitReader(r.Body, f.cfg.Body+1))
	if err != nil {
		h.drop()
		return nil, fmt.Errorf("read request: %w", err)
	}
	h.body = b
	if int64(len(b)) > f.cfg.Body {
		h.rest = r.Body
	}
	return h, nil
}

func (h *held) drop() { h.front.bodies.Add(-h.room) }

// repeatable tells whether sending twice does no more than sending once.
func repeatable(method string, u *url.URL) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return true
	case http.MethodPost:
		t := u.Query().Get("jeton")
		return len(t) == 26 && strings.Trim(t, "abcdefghijklmnopqrstuvwxyz234567") == ""
	}
	return false
}

// request makes the request for one attempt.
func (h *held) request(ctx context.Context, q *http.Request, addr string) *http.Request {
	out := q.Clone(ctx)
	out.URL.Scheme, out.URL.Host = "http", addr
	switch {
	case h.rest != nil:
		h.sent = true
		out.Body = io.NopCloser(io.MultiReader(bytes.NewReader(h.body), h.rest))
	case h.body != nil:
		// With GetBody the transport itself sends again what met a connection that
		// had been closed while idle: there, nothing was sent.
		out.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(h.body)), nil }
		out.Body, out.ContentLength = io.NopCloser(bytes.NewReader(h.body)), int64(len(h.body))
	}
	return out
}

// roundTrip sends a request until it is answered or the time is over.
func (f *Front) roundTrip(q *http.Request) (*http.Response, error) {
	h := q.Context().Value(heldKey{}).(*held)
	ctx := q.Context()
	last := errNobody
	for n := 0; ; n++ {
		left := f.cfg.Hold - time.Since(h.since)
		if left <= 0 {
			return nil, last
		}
		t := f.target()
		if t.none() {
			if err := f.wait(ctx, min(left, look)); err != nil {
				return nil, err
			}
			continue
		}
		resp, begun, err := f.attempt(ctx, h, q, t)
		if err == nil {
			if n > 0 {
				f.log.Info("request held and served", "method", q.Method, "attempts", n+1, "took", time.Since(h.since))
			}
			return resp, nil
		}
		last = err
		if ctx.Err() != nil || h.sent || begun && !h.safe {
			return nil, err
		}
		if err := f.wait(ctx, min(left, again)); err != nil {
			return nil, err
		}
	}
}

// attempt sends a request once. begun tells whether the node may have acted.
func (f *Front) attempt(ctx context.Context, h *held, q *http.Request, t Target) (_ *http.Response, begun bool, err error) {
	if t.Local != nil {
		rec := &recorder{header: http.Header{}, status: http.StatusOK}
		t.Local.ServeHTTP(rec, h.request(ctx, q, ""))
		return f.judge(rec.response(q))
	}
	ctx, leave := f.enter(ctx, t.Addr)
	defer leave()
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { begun = true }})
	resp, err := f.rt.RoundTrip(h.request(ctx, q, t.Addr))
	if err != nil {
		if cause := context.Cause(ctx); errors.Is(cause, errMoved) {
			err = cause
		}
		return nil, begun, fmt.Errorf("ask %s: %w", t.Addr, err)
	}
	whole, err := f.whole(resp)
	if err != nil {
		return nil, true, fmt.Errorf("ask %s: %w: %w", t.Addr, errDropped, err)
	}
	return f.judge(whole)
}

// whole reads an answer to its end before any of it is passed on, so that a node
// that dies while it answers is seen in time. A longer answer is refused: no
// page or photo of the service comes near the bound.
func (f *Front) whole(resp *http.Response) (*http.Response, error) {
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, f.cfg.Answer+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > f.cfg.Answer {
		return nil, fmt.Errorf("more than %d bytes", f.cfg.Answer)
	}
	resp.Body = io.NopCloser(bytes.NewReader(b))
	return resp, nil
}

// judge turns "this node does not serve" into an error that can be tried again.
func (f *Front) judge(resp *http.Response) (*http.Response, bool, error) {
	if resp.StatusCode == http.StatusServiceUnavailable {
		switch resp.Header.Get(retryHeader) {
		case retryRefused:
			return nil, false, errNobody
		case retryUnknown:
			return nil, true, errNobody
		}
	}
	return resp, true, nil
}

// recorder keeps the answer of the handler on this node.
type recorder struct {
	header http.Header
	status int
	wrote  bool
	body   bytes.Buffer
}

func (r *recorder) Header() http.Header { return r.header }

func (r *recorder) WriteHeader(status int) {
	if !r.wrote {
		r.status, r.wrote = status, true
	}
}

func (r *recorder) Write(p []byte) (int, error) {
	r.wrote = true
	return r.body.Write(p)
}

func (r *recorder) response(q *http.Request) *http.Response {
	return &http.Response{
		StatusCode: r.status, Status: http.StatusText(r.status), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: r.header, Body: io.NopCloser(bytes.NewReader(r.body.Bytes())), ContentLength: int64(r.body.Len()), Request: q,
	}
}
