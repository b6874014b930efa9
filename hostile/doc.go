// Package hostile is a list of attempts to get a packet out, or a name asked,
// from where adit run has put a command; what each of them should come to; and
// the watch on the host that tells whether one got out.
//
//	attempt.go    what an attempt is, and the list
//	expect.go     what may come of one, by mode
//	world.go      what the attempts aim at; canaries, by which each is known
//	inside.go     running the list, each attempt in a process of its own
//	send.go       the ways of sending that many attempts share
//	try_*.go      the attempts, by category
//	int80*.go     system calls by the door of 32-bit programs
//	high*.go      what lies beyond registers of 32 bits
//	trace_*.go    making one call of a traced program another one
//	host.go       outside: a victim, descriptors to be inherited
//	ears.go       outside: listeners
//	victim.go     a process of the user's outside that has what is wanted
//	watch.go      outside: capture on every interface of the host
//	marks.go      canaries in packets
//	table.go      verdicts
//	trial.go      all of it on this machine, for adit leaktest
//	c/            what needs a C library
//
// An attempt is aimed at this machine alone: the host's own addresses, where
// listeners of ours stand. A test may name addresses of a laboratory besides.
// It says what it saw itself; whether a packet got out is for the watch to say,
// which knows the packets of each attempt by their canaries.
//
// Limitations: without CAP_NET_RAW there is no capture, and only what reaches a
// listener is seen. A gateway of the tunnel on this very machine is told from a
// leak by the capture of what went into the tunnel: a packet that goes there and
// leaves beside it as well is counted, and not called a leak.
package hostile
