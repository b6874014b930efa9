package packet

// A Device gives and takes IP packets in clear: a TUN, an AF_PACKET socket, the
// router, gVisor's link, a pipe in memory. It is one of adit's four seams.
type Device interface {
	// Read waits until there is at least one packet, then fills b, which it
	// resets first, with what is there without waiting for more. Each packet
	// gets the room that b asks for. One goroutine at a time. After Close it
	// returns net.ErrClosed; any other error is final.
	Read(b *Batch) error

	// Write takes the packets of b, in order, leaving out dropped ones. It
	// may change the slab, and does not keep b. A packet that the other side
	// does not take is lost, as on any wire, and is no error; an error is
	// final. Safe for concurrent use with different batches.
	Write(b *Batch) error

	// MTU returns the size in bytes of the largest packet that Read gives and
	// Write is expected to take. It may change. It is asked for with every
	// batch, so it should be quick. Safe for concurrent use.
	MTU() int

	// Close makes a waiting Read return net.ErrClosed. Further calls do nothing.
	Close() error
}
