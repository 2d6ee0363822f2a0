package api

import (
	"maps"
	"net/http"
	"slices"

	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/cluster"
)

func (a *API) users(w http.ResponseWriter, r *http.Request, _ caller) error {
	s, err := a.state(r.Context())
	if err != nil {
		return err
	}
	list := []User{}
	for _, name := range slices.Sorted(maps.Keys(s.Users)) {
		u := s.Users[name]
		list = append(list, User{Name: name, Role: u.Role, TOTP: u.TOTP != ""})
	}
	write(w, http.StatusOK, list)
	return nil
}

func (a *API) setUser(w http.ResponseWriter, r *http.Request, who caller) error {
	name := r.PathValue("name")
	var in NewUser
	if err := read(w, r, &in); err != nil {
		return err
	}
	if err := ident.CheckName(name); err != nil {
		return err
	}
	if ranks[in.Role] == 0 {
		return badInput("role %.20q: use admin, operator or viewer", in.Role)
	}
	s, err := a.state(r.Context())
	if err != nil {
		return err
	}
	u, exists := s.Users[name]
	switch {
	case in.Password != "":
		a.hashes <- struct{}{} // bounded: each takes 64 MiB
		u.Hash, err = HashPassword(in.Password)
		<-a.hashes
		if err != nil {
			return err
		}
	case !exists:
		return badInput("user %s is new: give a password", name)
	case u.Role == in.Role:
		write(w, http.StatusOK, Changed{})
		return nil
	}
	u.Role = in.Role
	if _, err := a.propose(r.Context(), &cluster.SetUser{Name: name, User: u}); err != nil {
		return err
	}
	what := "set user " + name + ": " + string(in.Role)
	if in.Password != "" {
		what += ", new password"
	}
	a.audit(r.Context(), who, cluster.Event{}, what)
	write(w, http.StatusOK, Changed{true})
	return nil
}

func (a *API) deleteUser(w http.ResponseWriter, r *http.Request, who caller) error {
	name := r.PathValue("name")
	s, err := a.state(r.Context())
	if err != nil {
		return err
	}
	if _, ok := s.Users[name]; !ok {
		return notFound("user", name, "users")
	}
	if _, err := a.propose(r.Context(), &cluster.DeleteUser{Name: name}); err != nil {
		return err
	}
	a.audit(r.Context(), who, cluster.Event{}, "delete user "+name)
	write(w, http.StatusOK, Changed{true})
	return nil
}
