// Package service puts the citizen service together over one device: store,
// cases, agents and pages.
//
// It owns their order of opening and closing and the one background job
// (removing photos whose form was never sent). The appliance gives it the
// device, which at run time is a client of the mirrored volume, and a function
// that tells what this node is now; it gets a handler.
//
// It promises that Open on a volume of the pair is a takeover: no repair by
// hand, whatever the last owner was doing when it died. It never formats, and
// never closes the device.
package service
