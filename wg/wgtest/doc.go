// Package wgtest is what tests of tunnels need. It knows no engine: a [Sim] moves
// machines, whatever they are, through virtual time, and an [Eavesdropper] reads
// of their messages what everyone can. For engines that run on goroutines there
// is a [Network] in memory, and a packet.Device whose other end is the test.
//
//	sim.go          Sim: the clock, and what happens next
//	host.go         where a machine is: its address, sleep, cables
//	weather.go      loss, doubles, damage, delay, overtaking
//	nat.go          addresses that are rewritten, and change
//	eavesdropper.go who hears every datagram
//	sentences.go    what she asserts
//	network.go      Network and its Transports
//	pipe.go         Pipe, a packet.Device
//	crowd.go        Crowd: many flows, and who counts those out of order
//	ip.go           packets to send through it
//
// A Sim has no goroutines. A Network and a Pipe wait on channels only, so they
// may be used inside testing/synctest.
package wgtest
