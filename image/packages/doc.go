// Package packages gets the Debian packages of an image: exactly those of a
// committed lock, and nothing from the machine that builds.
//
// Resolve makes the lock: it checks the signature of the archive's InRelease file
// against Debian's keyring, the indexes against that file, and follows the
// dependencies of the wanted packages (Wanted) on shared libraries. Cache.Fetch
// gets one package of a lock and checks its SHA-256; where it was fetched from
// does not matter. Walk reads the files of a package.
//
// The lock (lock.json) names packages by their path below an archive's base URL,
// never the URL itself: any mirror will do.
package packages
