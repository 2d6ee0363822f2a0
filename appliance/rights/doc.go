// Package rights says what each service of an appliance may do: its user, its
// groups, its capabilities, its bounds, the files that are its own, and who may
// connect to its sockets. It is one table; docs/decisions/0006 says why it is so.
//
//	service  user             may
//	node     beffroi-node     read the key; own the vote's folder; renew the fence
//	block    beffroi-block    read the key; own the store's partition
//	vm       beffroi-vm       own the guests' folders; start QEMUs as other users, end
//	                          them, and give them their files; make groups for them; ask
//	                          init for the taps of guests
//	citizen  beffroi-citizen  open volumes; ask init for the service address
//	console  beffroi-console  open volumes; own the token, the certificate and uploads;
//	                          speak with vm about guests and with citizen about agents
//
// All of them may read the configuration and use the sockets of node and block. None
// may write to the run folder: init makes the sockets there. No program that they
// start can gain rights (no_new_privs).
//
// Nothing here is used where a node is a process of somebody's machine: all is that
// person's there.
package rights
