// Package rootfs makes a running system of an initial file system in memory: it
// mounts what the kernel offers, loads modules, mounts the read-only user land
// and the state partition.
//
// It owns nothing that lasts: all it does is gone with the next boot, but for the
// file system that MountState makes on a blank state partition. It never formats a
// partition that holds something, and never decides when: appliance/boot does.
//
// Modules are described by two text files beside them, written by the builder:
//
//	modules.list    NAME PATH [DEPENDENCY,DEPENDENCY...]   one module a line
//	modules.alias   alias PATTERN NAME                     what depmod writes
package rootfs
