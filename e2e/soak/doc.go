// Package soak runs adit for as long as one has patience, under everything that
// happens to a tunnel, and says whether it grows: memory, descriptors, threads,
// goroutines.
//
//	slope.go  a straight line through samples, and how sure it is
//	sample.go what a process holds
//
// The world and what happens in it are in the tests. make soak is an hour of it.
package soak
