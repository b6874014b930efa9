// Package sockets holds tests only: that a program's socket calls do inside adit
// what they do without it, in every mode. A program that prints each call and
// its result (testdata/transcript) runs on a machine whose interface is a
// WireGuard tunnel, where nothing stands between it and the kernel, and inside
// adit; the two transcripts are compared line by line.
// testdata/differences.txt lists where they may differ, and why.
//
//	main_test.go       entering the lab
//	world_test.go      the machines
//	client_test.go     running programs plainly or in a mode, many at once
//	server_test.go     the services at the other end: peers that refuse, reset, delay
//	transcript_test.go comparing the transcripts
//	differences_test.go reading the list of differences
//	dial_test.go       errnos and when they come, as tables
//	crowd_test.go      signals, threads, processes and a thousand connections
package sockets
