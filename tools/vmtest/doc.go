// Package vmtest holds the tests of the real image: they boot it on virtual servers
// of the lab and look at it as a town does, through the service address, the
// operator's API and the serial lines. It holds no code but tests.
//
// TestThePairBootsAndOutlivesANode is part of make test. The others take long and
// run by make vm-test, which sets BEFFROI_VM_TESTS. Both need what make build and
// make image have built; a plain go test without an image skips them.
package vmtest
