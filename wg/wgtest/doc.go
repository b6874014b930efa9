// Package wgtest is what tests of tunnels need: a network in memory that loses,
// doubles and reorders datagrams as a seed says, with a tap for eavesdroppers,
// and a packet.Device whose other end is the test.
//
//	network.go  Network and its Transports
//	pipe.go     Pipe, a packet.Device
//	ip.go       packets to send through it
//
// Everything waits on channels only, so it may be used inside testing/synctest.
package wgtest
