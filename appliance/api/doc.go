// Package api is the operator's interface of a node: JSON over HTTP under /api/v1,
// the same on the console's HTTPS and on a unix socket of the node.
//
//	GET    status                     status.Node, as this node sees it
//	GET    groups                     []Group
//	POST   groups                     NewGroup; repeated with the same content it changes nothing
//	DELETE groups/{name}              forgets a group and its volumes
//	POST   groups/{name}/switch       Target; a planned switch, asked of the node that leads the group
//	POST   groups/{name}/prefer       Target
//	GET    volumes                    []Volume
//	GET    vms                        []VM
//	POST   vms                        NewVM, on the volumes of a group that exists
//	POST   vms/{name}/start           wants it running
//	POST   vms/{name}/shutdown        its power button, then off after a bound
//	POST   vms/{name}/off             off at once
//	DELETE vms/{name}?keep_disks=     stops it, forgets it and then its group
//	GET    vms/{name}/serial?bytes=   the end of its serial output, bytes
//	GET    vms/{name}/attach          Upgrade: beffroi-serial; then the line itself
//	POST   images?name=...            the body is a raw or qcow2 image; a Job that makes a VM of it
//	GET    jobs, jobs/{id}            []Job, Job
//	DELETE jobs/{id}                  cancels it and removes what it created
//	GET    users                      []User
//	PUT    users/{name}               NewUser
//	DELETE users/{name}
//	GET    agents                     []agents.Agent: who answers citizens' reports
//	POST   agents                     NewAgent -> agents.Enrolment, told once
//	POST   agents/{name}/renew        AgentRenewal -> agents.Enrolment; the sessions end
//	POST   agents/{name}/reopen       AgentRenewal -> agents.Enrolment, for one who is closed
//	POST   agents/{name}/close        may not log in any more; the sessions end, the name stays
//	GET    events?after=N             []status.Event, oldest first
//	PUT    service                    ServiceGroup: which group holds the citizen service
//
// A change answers with a Changed, whose field is false when it was so already. An
// error is an Error with an HTTP status.
//
// # Who may
//
// A caller is the holder of the administrator's token (Authorization: Bearer), a
// user of the voted state whom the console has logged in (WithUser), or a process
// of this node's own user or of root on the unix socket. A viewer may look, an
// operator may also run VMs and switch groups, an administrator may do all. A
// request of a logged-in user that changes something must carry the header
// X-Beffroi-Request, which no foreign page can make a browser send.
//
// Each change is one line of the log and one event "audit" of the pair's history,
// with its author.
//
// # Agents
//
// Agents lie on the citizens' volume, and the node that serves citizens alone knows
// them; any other answers Elsewhere with its name. Their passwords and one-time secrets
// pass through and are neither kept nor logged nor part of any address.
//
// # Images
//
// An upload is streamed to the node's uploads folder within a bound. What is not a
// disk image is refused there, before anything is created. Then a Job goes on by
// itself, whatever its client does: it creates the group, waits until it serves,
// copies, creates the VM. A job that fails or is cancelled removes what it created;
// one whose service died is cleaned up at the next start.
//
// # Network cards
//
// A NewVM has "nics", 0 to 4, one by default; an upload has the same in its query. A VM
// says the address of each, which is its for ever. "network" is there when the node that
// runs it cannot connect them: none-in-process-mode.
//
// The package never decides where anything runs and keeps no state but jobs.
package api
