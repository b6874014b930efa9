// Package oracle sees every packet of a network namespace and says which of
// them should not be there: the judge of "nothing leaks".
//
//	oracle.go  capturing, from Watch to Stop
//	filter.go  the tunnel's own datagrams, left out in the kernel
//	verdict.go what else is innocent
//	decode.go  packets in words
//	sockets.go what is open
//
// It listens on every interface at once, lo included, in both directions, and
// also on interfaces that appear later. A packet that could not be kept counts
// as a leak. It needs CAP_NET_RAW in the namespace of the calling thread.
package oracle
