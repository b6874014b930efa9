// Package launcher gets hold of a program's traffic and looks after the
// program's life.
//
// Three processes, all the same executable:
//
//	shell ─► front          Run: words, tty, signals, stop and continue, exit status
//	           └─► engine   own process group: keys, UDP socket, TUN, netstack; reaps
//	                 ├─► stage ─exec─► the command, in the front's process group
//	                 └─► keeper  in the command's namespaces: renews our mounts
//
// The front is what the shell sees. The engine holds everything that matters
// and has no terminal. The stage is born in new user, network and mount
// namespaces, furnishes them, hands the device to the engine and becomes the
// command by execve, which is therefore a child with the pid, the terminal and
// the wait status that it would have without adit.
//
// The map of the files:
//
//	entry.go     before Go's runtime: limits that it would die of; ignored*.go and
//	             sigaction_linux.go: which signals the caller had ignored
//	options.go   what Run is asked and what it answers
//	room.go      do the caller's limits leave room for a run
//	front*.go    the front: starting the engine, signals, job control, the end
//	engine*.go   the engine: opening the tunnel, the child's life
//	tunnel.go    what lies between device and network; carrier.go, underlay.go: one
//	             WireGuard tunnel of it, and what it travels over; mtu.go, resolver.go:
//	             how large packets may be, where the peer is; capture.go: --pcap
//	masks.go     which sockets of the host are out of sight, under each name
//	stage*.go    inside the namespaces: links, /etc, descriptors, privileges, the
//	             keeper; mapping.go: who exists there; devices.go: which descriptors
//	             are network devices
//	giveback.go  memory that only starting needed
//	threads.go   threads that are there before the command is
//	confined.go  the modes without namespaces: what serves the command;
//	             stage_confined.go: what it does to itself before it is executed;
//	             closed.go: which of its sockets it has closed
//	notify*.go   seccomp mode: the filter, the calls that it tells of, the program's
//	             memory and descriptors
//	procs.go     processes by /proc; companions.go: those the keeper ends when nobody
//	             else is left
//	wire.go      the messages between the three
//	mode.go      the table of modes; ladder.go: which one is used where the strongest
//	             does not work; probe*.go and hints*.go: what works, and what to type
//	seccomp.go   the kernel's interface to who answers system calls
//	library.go   where a program can load the library of preload mode from
//	words*.go    every sentence of a refusal; log.go, statusfd.go: what is told
//	             meanwhile
//	lock.go      one key, one tunnel; the last time stamp
package launcher
