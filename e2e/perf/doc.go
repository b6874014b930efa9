// Perf measures what a tunnel costs: the CPU time of the tunnel's process for
// each GiB that one TCP stream carries, up and down, and the throughput. It
// compares adit with wireguard-go as the client of the same peer, interleaved
// in one run: on a shared machine only such ratios hold.
//
//	go run ./e2e/perf [-rounds 3] [-seconds 5] [-json]
//
// It builds the two hosts of package lab, which needs root or user namespaces.
// The stream is iperf3's where that is installed, and else its own.
//
//	main.go    options, entering the lab, the rounds
//	client.go  the two clients and their CPU time
//	stream.go  one TCP stream
//	report.go  the table and the JSON
package main
