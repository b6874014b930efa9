// Package lab builds the machines that the end-to-end tests run on, out of
// namespaces: a host of an ordinary user, and a server at the other end of a
// cable. The process that calls [Enter] is moved onto the host: its network,
// its /etc, /run, /dev/net and /dev/shm are the host's own, and so is its user, so
// that nothing of the real machine is changed and several labs can be at once.
//
//	enter.go      re-executing this process inside, as root or as anybody
//	netns.go      network namespaces and doing something in one
//	host.go       the host's mounts and accounts
//	cable.go      the veth pair, its addresses and routes
//	pair.go       two more machines for a test of their own
//	user.go       the ordinary user, and starting programs as them
//	usage.go      what a process takes of memory and processor
//	leftovers.go  what a program has left behind: processes, mounts, files
//
// It is Linux only, and used by tests and by e2e/perf only.
package lab
