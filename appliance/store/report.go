package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"beffroi.dev/appliance/control"
	"beffroi.dev/appliance/status"
	"beffroi.dev/pkg/block/mirror"
	"beffroi.dev/pkg/disk"
	"beffroi.dev/pkg/ident"
)

// report tells the node service about the store: at once when a role changed.
func (s *Service) report(ctx context.Context) error {
	failing := false
	for ctx.Err() == nil {
		part, changed := s.Status()
		rctx, cancel := context.WithTimeout(ctx, time.Second)
		err := s.ctl.Report(rctx, "block", part)
		cancel()
		if err != nil && !failing && ctx.Err() == nil {
			s.log.Warn("reporting to the node service fails", "error", err)
		}
		failing = err != nil
		select {
		case <-ctx.Done():
		case <-changed:
		case <-time.After(reportEvery):
		}
	}
	return nil
}

// Status is this service's part of the node's status, and a channel that is
// closed when a role in it changed.
func (s *Service) Status() (status.Store, <-chan struct{}) {
	st, changed := s.engine.Status()
	part := status.Store{
		Free: int64(st.Free) * disk.BlockSize, Capacity: int64(st.Capacity) * disk.BlockSize, Linked: st.Linked,
		Groups: []status.LocalGroup{}, Links: []status.Link{},
		Counters: status.Counters{
			Frames: st.Stats.Frames, Records: st.Stats.Records, Acked: st.Stats.Acked, ResyncBytes: st.Stats.ResyncBlocks * disk.BlockSize,
			DeltaResyncs: st.Stats.DeltaResyncs, FullResyncs: st.Stats.FullResyncs, Corrupt: st.Stats.CorruptReads,
			Malformed: st.Stats.Malformed, Fenced: st.Stats.Fenced,
		},
	}
	if st.Failed != nil {
		part.Failed = st.Failed.Error()
	}
	for _, g := range st.Groups {
		part.Groups = append(part.Groups, localGroup(g))
	}
	for _, p := range s.mesh.Paths() {
		part.Links = append(part.Links, status.Link{
			Peer: p.Peer, Path: p.Path, Kind: "data", Up: p.Up, Data: p.Session, RoundTripUS: p.RoundTrip.Microseconds(),
			BytesIn: p.BytesIn, BytesOut: p.BytesOut, Reason: p.Reason,
		})
	}
	return part, changed
}

func localGroup(g mirror.GroupStatus) status.LocalGroup {
	l := status.LocalGroup{
		ID: g.ID, Epoch: g.Epoch, Primary: g.Primary, InSync: g.InSync, Serving: g.Serving, Readable: g.Readable, Since: g.Since, Copies: g.Copies,
		Watermark: g.Watermark, Last: g.Last, Bytes: int64(g.Mapped) * disk.BlockSize, Pending: g.Pending, Held: g.Held, Change: string(g.Proposal),
	}
	if r := g.Resync; r != nil {
		l.Resync = &status.Resync{
			Running: r.Running, TotalBytes: int64(r.Total) * disk.BlockSize, CopiedBytes: int64(r.Copied) * disk.BlockSize,
			DirtyBytes: int64(r.Dirty) * disk.BlockSize, ForMS: r.For.Milliseconds(), LeftMS: -1,
		}
		if r.Running && r.Copied > 0 {
			l.Resync.LeftMS = int64(float64(r.For.Milliseconds()) * float64(r.Dirty) / float64(r.Copied))
		}
	}
	return l
}

// handler is block.sock: the status, one group as it is at this moment, and the planned
// switch of a group that this node leads.
func (s *Service) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, _ *http.Request) {
		part, _ := s.Status()
		answer(w, http.StatusOK, part)
	})
	mux.HandleFunc("GET /v1/groups/{id}", s.group)
	mux.HandleFunc("POST /v1/switch", func(w http.ResponseWriter, r *http.Request) {
		var ask struct {
			Group ident.Group `json:"group"`
			To    ident.Node  `json:"to"`
		}
		dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, 4096))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&ask); err != nil {
			answer(w, http.StatusBadRequest, control.Error{Message: fmt.Sprintf("switch: %v", err)})
			return
		}
		if err := s.engine.Switch(r.Context(), ask.Group, ask.To); err != nil {
			code := http.StatusConflict
			if errors.Is(err, disk.ErrClosed) {
				code = http.StatusServiceUnavailable
			}
			answer(w, code, control.Error{Message: fmt.Sprintf("switch group %d: %v", ask.Group, err), Refused: true})
			return
		}
		answer(w, http.StatusAccepted, struct{}{})
	})
	return mux
}

// group answers what a service asks before it acknowledges something.
func (s *Service) group(w http.ResponseWriter, r *http.Request) {
	id, err := strconv.ParseUint(r.PathValue("id"), 10, 64)
	if err != nil {
		answer(w, http.StatusBadRequest, control.Error{Message: fmt.Sprintf("group %.20q: not a number", r.PathValue("id"))})
		return
	}
	switch g, ok, err := s.engine.Group(r.Context(), ident.Group(id)); {
	case err != nil:
		answer(w, http.StatusServiceUnavailable, control.Error{Message: fmt.Sprintf("group %d: %v", id, err)})
	case !ok:
		answer(w, http.StatusNotFound, control.Error{Message: fmt.Sprintf("group %d: this node does not know it", id)})
	default:
		answer(w, http.StatusOK, localGroup(g))
	}
}

func answer(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(v) // the other end of a local socket is gone: nothing to tell it
}
