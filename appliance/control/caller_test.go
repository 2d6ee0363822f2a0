package control

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"beffroi.dev/appliance/status"
	"beffroi.dev/pkg/host/account"
	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/cluster"
)

// whole is a node service with a user in its state, who takes everything.
type whole struct{}

func (whole) Watch(context.Context, uint64) (*cluster.State, error) {
	s := cluster.New(ident.UUID{1}, nil)
	s.Users["marie"] = cluster.User{}
	return s, nil
}
func (whole) Propose(context.Context, cluster.Action) (cluster.Result, error) {
	return cluster.Result{}, nil
}
func (whole) Order(context.Context, uint64) (Order, error) { return Order{}, nil }
func (whole) Take(string, []byte) error                    { return nil }
func (whole) Status() status.Node                          { return status.Node{} }

func TestEachServiceMayAskForItsOwnPartOnly(t *testing.T) {
	s := &Server{votes: whole{}, orders: whole{}, reports: whole{}}
	serve := func(user account.ID, method, path string, body any) (int, string) {
		b, err := encode(body)
		if err != nil {
			t.Fatal(err)
		}
		mux := http.NewServeMux()
		mux.HandleFunc("GET /v1/state", s.state)
		mux.HandleFunc("POST /v1/propose", s.propose)
		mux.HandleFunc("PUT /v1/report/{name}", s.report)
		r := httptest.NewRequest(method, path, bytes.NewReader(b))
		ctx, cancel := context.WithTimeout(context.WithValue(r.Context(), callerKey{}, callerOf(int(user), int(account.Node))), 20*time.Second)
		defer cancel()
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r.WithContext(ctx))
		return w.Code, w.Body.String()
	}
	const stranger account.ID = 100001
	for _, tc := range []struct {
		what    string
		method  string
		path    string
		body    any
		allowed []account.ID
	}{
		{"a group's configuration", "POST", "/v1/propose", &cluster.Reconfigure{}, []account.ID{account.Root, account.Node, account.Console, account.Block}},
		{"a placement", "POST", "/v1/propose", &cluster.PlaceVM{}, []account.ID{account.Root, account.Node, account.Console, account.VM}},
		{"a deletion", "POST", "/v1/propose", &cluster.DeleteGroup{}, []account.ID{account.Root, account.Node, account.Console}},
		{"the citizen service's report", "PUT", "/v1/report/citizen", nil, []account.ID{account.Root, account.Node, account.Citizen}},
		{"the vm service's report", "PUT", "/v1/report/vm", nil, []account.ID{account.Root, account.Node, account.VM}},
	} {
		for _, who := range []account.ID{account.Root, account.Node, account.Console, account.Block, account.VM, account.Citizen, stranger} {
			want := http.StatusForbidden
			for _, a := range tc.allowed {
				if a == who && tc.method == "PUT" {
					want = http.StatusNoContent
				} else if a == who {
					want = http.StatusOK
				}
			}
			if code, text := serve(who, tc.method, tc.path, tc.body); code != want {
				t.Errorf("%s by %d: %d %s; want %d", tc.what, who, code, text, want)
			}
		}
	}
	for who, sees := range map[account.ID]bool{account.Root: true, account.Console: true, account.Citizen: false, account.VM: false, account.Block: false, stranger: false} {
		code, text := serve(who, "GET", "/v1/state", nil)
		var st cluster.State
		if err := json.Unmarshal([]byte(text), &st); code != http.StatusOK || err != nil || (len(st.Users) > 0) != sees {
			t.Errorf("%d sees %d users (%d, %v); want some: %v", who, len(st.Users), code, err, sees)
		}
	}
}

func encode(body any) ([]byte, error) {
	do, ok := body.(cluster.Action)
	if !ok {
		return []byte("{}"), nil
	}
	return encodeProposal(do)
}
