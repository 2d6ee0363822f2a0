// Package build makes the image of an appliance: it fetches the locked packages,
// makes the parts, and joins them to a signed kernel image on a partitioned disk.
//
//	kernel     vmlinuz, chosen modules, microcode    from packages, kept
//	userland   /usr.squashfs                         from packages, kept
//	recovery   one program with u-root's commands    kept
//	programs   init, beffroi, beffroictl             built each time
//
// What is kept lies in the cache by the hash of all that went into it, the code that
// makes it included. Beside the image lie manifest.json, with the hash of every
// part, and sbom.cdx.json.
package build
