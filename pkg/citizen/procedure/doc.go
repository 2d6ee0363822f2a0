// Package procedure reads the definition files of démarches.
//
// A definition is one YAML file: who may file, what the law says about silence
// and appeal, how long it is kept, which service answers, the fields with their
// bounds, and tests. It is named by the SHA-256 of its bytes, and a case stays
// on the definition it was filed under.
//
// It promises that a definition which loads is complete: every text in every
// language, silence, appeal and retention declared, every field with a purpose
// and bounds, and its own tests passed. An unknown key is an error with its
// line. All faults of a file are reported at once.
//
// It never reads a clock, a database or the network.
package procedure
