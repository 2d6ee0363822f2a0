package main

import "testing"

func TestTheLaw(t *testing.T) {
	for _, tc := range []struct {
		from, to string
		ok       bool
	}{
		{"pkg/block/mirror", "beffroi.dev/pkg/disk", true},
		{"pkg/block/mirror", "beffroi.dev/pkg/quorum/lease", false},
		{"pkg/disk", "beffroi.dev/pkg/block/frame", false},
		{"pkg/citizen/store", "beffroi.dev/pkg/disk", true},
		{"pkg/citizen/store", "beffroi.dev/pkg/block/nbd", false},
		{"pkg/disk", "beffroi.dev/pkg/disk/simdisk", false},
		{"pkg/disk/simdisk", "beffroi.dev/pkg/disk", true},
		{"appliance/store", "beffroi.dev/pkg/block/volume", true},
		{"appliance/store", "beffroi.dev/image/build", false},
		{"pkg/task", "beffroi.dev/appliance/config", false},
		{"cmd/beffroi", "beffroi.dev/appliance/node", true},
		{"appliance/node", "beffroi.dev/cmd/beffroi", false},
		{"tools/simulate", "beffroi.dev/tools/simulate/world", true},
		{"pkg/block/volume", "go.etcd.io/raft/v3", false},
		{"pkg/quorum/raftnode", "go.etcd.io/raft/v3", true},
		{"pkg/guest/vm", "github.com/digitalocean/go-qemu/qmp", false},
		{"pkg/disk", "testing", false},
		{"pkg/disk/disktest", "testing", true},
	} {
		if why := forbidden(tc.from, tc.to); (why == "") != tc.ok {
			t.Errorf("%s -> %s: %q; want allowed %v", tc.from, tc.to, why, tc.ok)
		}
	}
}
