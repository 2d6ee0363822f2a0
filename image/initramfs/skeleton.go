package initramfs

import (
	"fmt"

	"beffroi.dev/pkg/host/account"
)

// Programs are our parts of an appliance, as files.
type Programs struct {
	Init, Beffroi, Beffroictl []byte
	Recovery                  []byte // many commands in one program, called by links
}

// Skeleton is the root folder around the programs.
func Skeleton(p Programs, release, mke2fs []byte) []Entry {
	entries := []Entry{
		Program("init", p.Init),
		Program("beffroi/bin/beffroi", p.Beffroi),
		Program("beffroi/bin/beffroictl", p.Beffroictl),
		Link("beffroi/bin/modprobe", "beffroi"), // what the kernel calls when it wants a module
		device("dev/console", 0o600, 5, 1), device("dev/null", 0o666, 1, 3),
		Folder("proc", 0o555), Folder("sys", 0o555), Folder("run", 0o755), Folder("state", 0o700),
		Folder("tmp", 0o1777), Folder("usr", 0o755),
		Link("lib", "usr/lib"), Link("lib64", "usr/lib64"), Link("bin", "usr/bin"), Link("sbin", "usr/sbin"),
		File("etc/passwd", account.Passwd("/beffroi/bin/sh")), File("etc/group", account.Group()),
		File("etc/hostname", []byte("beffroi\n")), File("etc/os-release", release),
		File("etc/nsswitch.conf", []byte("passwd: files\ngroup: files\nhosts: files dns\n")),
		File("etc/hosts", []byte("127.0.0.1 localhost\n::1 localhost\n")),
	}
	if len(mke2fs) > 0 {
		entries = append(entries, File("etc/mke2fs.conf", mke2fs))
	}
	if len(p.Recovery) > 0 {
		entries = append(entries, Program("beffroi/bin/bb", p.Recovery), Link("beffroi/bin/sh", "gosh"), Link("beffroi/bin/less", "more"))
		for _, c := range RecoveryCommands {
			entries = append(entries, Link("beffroi/bin/"+c, "bb"))
		}
	}
	return entries
}

// OSRelease is what the loader shows and sorts by, and what a node knows about its
// image: VERSION_ID, and BUILT, before which no clock can be right.
func OSRelease(version string, built int64) []byte {
	return fmt.Appendf(nil, "ID=beffroi\nNAME=Beffroi\nPRETTY_NAME=\"Beffroi %s\"\nVERSION_ID=%s\nVERSION=%s\nBUILT=%d\n",
		version, version, version, built)
}
