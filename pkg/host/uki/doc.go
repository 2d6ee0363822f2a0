// Package uki makes and reads unified kernel images: one PE file for UEFI that
// holds the kernel, its command line and its initial file system as sections
// behind a small loader, the stub, so that one signature covers all of them.
//
// Build appends sections to a stub. Sign adds an Authenticode signature (RSA,
// PKCS #1 v1.5, SHA-256, no time), so that the same image and key give the same
// bytes; Verify checks one. Section reads a part, such as .osrel with the version.
//
// Everything that is read comes from a partition that anybody can write to: sizes
// and offsets are checked before they are used.
package uki
