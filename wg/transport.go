package wg

import "adit/packet"

// A Transport carries WireGuard messages to the peers and back: UDP sockets, or
// a lossy network in memory. It is one of adit's four seams.
type Transport interface {
	// Read waits until there is at least one datagram, then fills b, which it
	// resets first, with what is there. Every datagram has its Path and the
	// traffic class of its outer header. One goroutine at a time. After Close it
	// returns net.ErrClosed; any other error is final.
	Read(b *packet.Batch) error

	// Write sends each datagram of b along its Path with its traffic class, in
	// order, leaving out dropped ones. It does not keep b. A datagram that
	// could not be sent is lost, as on any network: the error says why for the
	// log and the counters, and is never final unless it is net.ErrClosed. Safe
	// for concurrent use with different batches.
	Write(b *packet.Batch) error

	// Overhead returns how many bytes the transport adds to each datagram
	// beyond the headers of IP and UDP.
	Overhead() int

	// Close makes a waiting Read return net.ErrClosed. Further calls do nothing.
	Close() error
}
