package api

import (
	"net/url"
	"testing"

	"beffroi.dev/pkg/guest/qemu"
	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/cluster"
)

func FuzzImportQuery(f *testing.F) {
	s := cluster.New(ident.NewUUID(), map[ident.Node]cluster.Node{1: {Name: "a", Kind: cluster.KindNode}})
	f.Add("name=town&cpus=2&memory_mb=512&firmware=uefi&size_bytes=9&prefer=a&run=false")
	f.Add("name=../x&cpus=-1")
	f.Fuzz(func(t *testing.T, query string) {
		q, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		in, err := parseImport(q, s, 1)
		if err != nil {
			return
		}
		if ident.CheckName(in.vm.Name) != nil || in.vm.CPUs < 1 || in.vm.CPUs > qemu.MaxCPUs || in.size < 0 || in.size > cluster.MaxVolumeBytes || in.prefer != 1 {
			t.Fatalf("%q gives %+v", query, in)
		}
	})
}

func FuzzPasswordHash(f *testing.F) {
	f.Add("$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHRzYWx0c2FsdA$c2FsdHNhbHRzYWx0c2FsdA")
	f.Fuzz(func(t *testing.T, hash string) {
		if VerifyPassword(hash, "guess") {
			t.Fatalf("%q accepts a guess", hash)
		}
	})
}
