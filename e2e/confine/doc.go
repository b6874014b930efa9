// Confine runs a program in surroundings in which something is forbidden, as a
// container, a hardened host or a sandbox would forbid it:
//
//	confine [OPTIONS] -- PROGRAM [ARG...]
//
// It changes itself and what it becomes, and nothing else of the machine. Some
// of it needs root; the program can be another user's (-user).
//
//	main.go    the options, and the order in which they are applied
//	filter.go  system calls that are refused, and a listener that is there first
//	mounts.go  /dev/net, /proc/sys, a chroot
//	userns.go  a user namespace below which no other can be made
//	caps.go    capabilities and users
//
// The tests of e2e are its only use.
package main
