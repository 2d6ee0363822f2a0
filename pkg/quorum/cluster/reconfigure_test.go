package cluster_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/cluster"
)

// The scripts in testdata/reconfigure say for every rule which changes pass.
// "state" sets the group's configuration, "try" tries a change on a copy of it.
func TestTheRulesOfReconfiguration(t *testing.T) {
	ids := map[string]ident.Node{"a": nodeA, "b": nodeB, "c": nodeC, "w": witness, "x": 77}
	name := func(n ident.Node) string {
		for k, v := range ids {
			if v == n {
				return k
			}
		}
		return "?"
	}
	var s *cluster.State
	datadriven.RunTest(t, "testdata/reconfigure", func(t *testing.T, d *datadriven.TestData) string {
		var primary, by, kind, replicaOf string
		var epoch, cutEpoch, cutSeq, lineage int
		d.MaybeScanArgs(t, "primary", &primary)
		d.MaybeScanArgs(t, "by", &by)
		d.MaybeScanArgs(t, "kind", &kind)
		d.MaybeScanArgs(t, "replica", &replicaOf)
		d.MaybeScanArgs(t, "epoch", &epoch)
		d.MaybeScanArgs(t, "cut", &cutEpoch, &cutSeq)
		d.MaybeScanArgs(t, "lineage", &lineage)
		conf := cluster.Config{Primary: ids[primary], Lineage: uint64(lineage), Cut: cluster.Cut{Epoch: ident.Epoch(cutEpoch), Seq: ident.Seq(cutSeq)}}
		for _, arg := range d.CmdArgs {
			if arg.Key == "insync" {
				for _, v := range arg.Vals {
					conf.InSync = append(conf.InSync, ids[v])
				}
			}
		}
		switch d.Cmd {
		case "state":
			s = genesis()
			mustApply(t, s, &cluster.CreateGroup{Name: "g", Preferred: conf.Primary, Durability: cluster.Strict, Volumes: []cluster.NewVolume{{Name: "v", SizeBytes: 1 << 20}}, InSync: conf.InSync})
			g := s.Groups[1]
			g.Config.Epoch, g.Config.Cut = ident.Epoch(epoch), conf.Cut
			s.Groups[1] = g
			return "ok"
		case "try":
			copied := s.Clone()
			_, err := cluster.Apply(copied, cluster.Command{Do: &cluster.Reconfigure{
				Group: 1, Base: ident.Epoch(epoch), New: conf, Kind: cluster.ChangeKind(kind), By: ids[by], Replica: replica(ids[replicaOf])}})
			if err != nil {
				return strings.TrimPrefix(err.Error(), "refused: ")
			}
			c := copied.Groups[1].Config
			var set []string
			for _, n := range c.InSync {
				set = append(set, name(n))
			}
			slices.Sort(set)
			return fmt.Sprintf("ok: epoch %d primary %s insync %s cut %d/%d lineage %d", c.Epoch, name(c.Primary), strings.Join(set, ","), c.Cut.Epoch, c.Cut.Seq, c.Lineage)
		}
		return "unknown command"
	})
}
