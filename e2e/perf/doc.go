// Perf is the rig: it measures what a tunnel costs, and compares. Two hosts of
// namespaces (package lab) are joined by a veth pair. On one of them adit and
// other userspace WireGuards (wireguard-go, and tailscale's fork of it) are in
// turn the client of one wireguard-go on the other, interleaved in every round:
// on a shared machine only ratios of one round hold.
//
//	go run ./e2e/perf [-case REGEXP] [-rounds 3] [-seconds 2] [-contenders adit,wireguard-go]
//	                  [-json FILE] [-markdown FILE] [-idle 15s] [-own-stream] [-adit BINARY]
//	go run ./e2e/perf -list
//	go run ./e2e/perf -merge FILE,FILE [-markdown FILE]
//
// One case alone is quick: -case '^tcp-up$' -rounds 3 -seconds 2 takes half a
// minute, all of them less than 20. It needs root, or user namespaces. The
// streams of TCP are iperf3's where that is installed, and else its own. The exit
// status is 1 if something that must be is not: a gate fails only if every round
// misses it.
//
//	main.go      options, entering the lab, the rounds
//	trial.go     what a case is, and the list of them
//	world.go     the hosts, the far end
//	contender.go opening each contender's tunnel; tailscale.go: the fork as a process
//	agent.go     the process at the client's end that makes the traffic
//	usage.go     what processes use: processor, switches; memory.go: memory
//	clock.go     one clock for all processes
//
// Cases:
//
//	stream.go    TCP streams; pump.go: our own; iperf.go: iperf3's
//	udp.go       datagrams, with and without GSO
//	transaction.go many small TCP connections
//	ping.go      round-trip times, idle and under load
//	road.go      a long and bad way; relay.go: what makes it so
//	ends.go      the same program on both ends
//	growth.go    many streams, peers, prefixes
//	count.go     system calls, bytes moved
//	connect.go   until the first reply
//	move.go      addresses that change
//	idle.go      nothing to do
//	socket.go    the socket path: connections without an interface
//	seccomp.go   what it costs to have it behind a program's system calls;
//	             intercept.go: the calls
//
// What comes of them:
//
//	figure.go    the figures that there are
//	report.go    medians, ratios, spreads
//	gate.go      what must be, and what should
//	table.go     text and Markdown
//	output.go    the whole report: where, when, JSON; merge.go: of several runs
package main
