// Package guests is the vm service of a node: it makes the machines that run here
// those that the node service orders to run here.
//
// It owns the VMs' folders, one vm.VM for each, and the file placed.json in each
// folder: which VM this is and under which generation it was started last. The
// vote places a VM on a node under a generation; a new placement is a new
// generation. What follows is one table (Decide, which is pure):
//
//	QEMU    what is known                                   what is done
//	alive   ordered under its generation                    it runs on
//	alive   ordered or voted under a newer generation       killed at once: it was declared dead
//	alive   voted here under its generation, not to run     power button, then killed after a bound
//	alive   voted here under its generation, to run, but    killed after a grace: the node service
//	        not ordered                                     may have just started and not know it yet
//	alive   deleted from the state                          killed
//	none    ordered under a newer generation than its last  started
//	none    ordered under the generation of its last start  a new placement is asked for
//	none    deleted from the state                          its folder is removed
//
// A generation is started at most once. What ended by itself, or by the fence, is
// started again only after the vote has placed it anew, which a node that is cut
// off cannot obtain; so a machine that was killed because its node was silent
// never comes back there by itself. A guest that switched itself off stays off:
// the wish that it runs is withdrawn.
//
// QEMUs outlive this service. At its start it finds the living ones by their
// folders before it reports anything; while nobody tells it what is wanted, it
// lets them run.
//
// It answers on the socket "vm" of the run folder:
//
//	GET /v1/serial/NAME?bytes=N   the end of the serial output
//	GET /v1/attach/NAME           Upgrade: beffroi-serial; then the line itself, one client at a time
//	POST /v1/drain                Drain; answers at once with Draining: the node goes down, its guests end
//
// On an appliance each QEMU is a user of its own (Config.Apart, pkg/host/account).
//
// A guest's network cards are taps, which init makes when this service names the VM
// (Config.Taps, appliance/tap): before each start, and removed when nothing of the VM
// lives. In process mode there are none; the guest runs without cards, and the report
// says so.
//
// It never decides where a VM runs and never touches a disk's content.
package guests
