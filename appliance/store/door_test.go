package store

import (
	"errors"
	"testing"

	"beffroi.dev/pkg/host/account"
	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/cluster"
)

func TestAClientOpensItsOwnVolumesOnly(t *testing.T) {
	st := &cluster.State{Service: cluster.Service{Group: 1}, Groups: map[ident.Group]cluster.Group{
		1: {ID: 1, Name: "citizen"}, 2: {ID: 2, Name: "compta"}, 3: {ID: 3, Name: "cadastre"},
	}, VMs: map[ident.VM]cluster.VM{7: {ID: 7, Group: 2}, 8: {ID: 8, Group: 3}}}
	compta, _ := account.OfGuest(7)
	gone, _ := account.OfGuest(9)
	for user, want := range map[account.ID]string{
		account.Root: "all", account.Block: "all", account.Console: "all", account.Citizen: "citizen", compta: "compta",
		gone: "", account.Node: "", account.VM: "", 65534: "",
	} {
		may := opens(int(user), int(account.Block))
		for _, g := range st.Groups {
			if got := may == nil || may(st, g); got != (want == "all" || want == g.Name) {
				t.Errorf("user %d may open %s: %v; want %q alone", user, g.Name, got, want)
			}
		}
	}
	d := door{exports{&Service{state: st}}, opens(int(compta), int(account.Block))}
	if _, err := d.Open("cadastre/disk@4"); !errors.Is(err, errNoExport) {
		t.Errorf("another VM's disk: %v; want that it is not there", err)
	}
	if names := d.List(); len(names) != 0 {
		t.Errorf("it is shown %v", names)
	}
}
