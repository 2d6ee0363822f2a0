// Package witness is the third vote: it runs on any small box at a third site.
//
// It opens a vote log in a state folder, joins the transport and votes. It owns
// that folder and nothing else: it stores votes and the cluster's configuration
// only, keeps no data and asks nobody to vouch for it. It also vouches for the
// two data nodes, as every voter does.
//
// Status is JSON over HTTP, on an optional unix socket or address: who leads,
// which paths are up, what was refused. It is read-only.
//
// It promises never to vote twice in one term, whatever happens to its power,
// and never to take part again once its log is lost (rule R9). It takes no
// decision about groups, guests or addresses.
package witness
