// Package node is the node service (beffroi node): it owns this node's vote, and
// says what the node should do.
//
// It joins the vote, the renewals and the reports of the other services into an
// Order, through the rules of package lease, and gives it to them over package
// control:
//
//	the voted state  --+
//	renewals         --+--> lease.Decide --> Order (run, address)  --> control --> block, vm, citizen, console
//	services' reports--+               \---> claims (PlaceVM)      --> the vote
//	                                    \--> fence.Renewal         --> init
//
// A VM may run here only under a generation that this node obtained itself: by a
// proposal that went through this service in this life and since its last fence,
// or by a guest that was found alive while the fence had not passed. What a
// former life renewed last is read from the run folder, so a restart of this
// service neither stops a guest nor excuses one.
//
// The service address is taken when the block service says that it serves the
// citizen's group and may read, and a majority vouches for this node; or when
// this node is the group's only member (R7). It is kept while that service leads the
// group without a break, also in the moments in which it may not read (decision 10). A
// word of the block service that is
// older than AddressDrop counts as no. The address is let go one renewal before
// init would kill for it.
//
// After a start, the first Order waits until the block service has reported and a
// majority has vouched, at most firstOrderBound: an order made of ignorance would
// let the address go that is held well. The vm service is not waited for: it gives
// the guests that it knows some seconds to be ordered.
//
// Configurations of groups are proposed by the block service, not here. A
// promotion that passes through here is guarded (R6): this voter first stops
// vouching for the old primary, which it may only after the grace, and vouches
// again when the outcome is known, however late that is.
//
// Codes of problems beyond those that package status lists: store-silent and
// vm-silent, for services that do not report; vm-failed.
package node
