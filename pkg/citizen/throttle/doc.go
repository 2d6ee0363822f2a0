// Package throttle limits how often one key (an address, an account) may do
// something.
//
// It keeps a bounded number of keys in memory; when there are more, the one
// unused for longest is forgotten. It never stores anything: after a failover
// everybody starts with a full allowance.
package throttle
