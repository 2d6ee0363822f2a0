// Package pairing founds a pair: it makes one pair of two blank nodes and a witness. It
// also takes a new machine into a pair that has lost a node.
//
// Each member makes its identity by itself, shows a short code and listens. On one
// node, the founder, a person types the code of the twin and that of the witness.
// Each code authenticates one meeting (a password-authenticated key exchange inside
// TLS); after it both sides know each other's long-term key and need no code. Then
// the founder writes the three configurations and hands each member its own:
//
//	founder                       twin, witness
//	-------                       -------------
//	record "begun"
//	prepare ------------------->  keep the document, durably
//	        <-------------------  prepared
//	record "decided"                                   <- the decision
//	adopt
//	commit -------------------->  adopt; forget the document
//	        <-------------------  done
//	record removed
//
// Until the record says "decided" all stay blank: a founder that starts again undoes
// what it began. From then on all are founded: a founder repeats its commit until
// each member has answered, or is seen in the vote. A member that has prepared waits
// for the founder's word and says so on its screen; a person may let it forget.
//
// It also has a lost node replaced (decision 13): the survivor, a node of a pair, meets
// a new machine by its code, and hands it the lost one's name, site and addresses under a
// fresh identity. For the new machine nothing differs from a founding. What decides is
// the vote:
//
//	survivor                      new machine                 survivor and witness
//	--------                      -----------                 --------------------
//	record
//	prepare ------------------->  keep the document, durably
//	        <-------------------  prepared
//	record "prepared", "asked"
//	propose --------------------------------------------->    ReplaceNode   <- the decision
//	commit -------------------->  adopt; forget the document
//	        <-------------------  done
//	record removed
//
// Offer (what a member does with a message) and Founding (what a founder does) take
// durable steps through Journal and talk through Peer, so that a test can cut the
// power at each of them. Engine owns sockets, the code and its tries.
//
// A private key never leaves its node, and no message carries one. The wire format
// is in PROTOCOL.md. The package draws nothing on a screen and changes no network.
package pairing
