package link

import (
	"fmt"
	"sync/atomic"

	"adit/packet"
	"golang.org/x/sys/unix"
)

// A read gives one packet of at most 64 KiB with its headers.
const maxRead = packet.VirtioHeaderLen + ethernetLen + 65536 + 128

// An extractor reads batches from a descriptor that gives a virtio header before
// each packet. One goroutine at a time.
type extractor struct {
	file *file
	sys  *kernel
	// open returns the packet in what was read and the header that goes with
	// it. False: it is not for us.
	open func(frame []byte) (h packet.VirtioHeader, pkt []byte, ok bool)

	b     *packet.Batch
	split packet.Splitter // may hold the rest of a super-packet for the next batch
	buf   []byte
	fill  func(fd uintptr) bool
	err   error

	malformed atomic.Uint64
}

// read fills b.
func (e *extractor) read(b *packet.Batch) error {
	b.Reset()
	e.b, e.err = b, nil
	err := e.file.read(e.fill)
	e.b = nil
	if err != nil {
		return err
	}
	return e.err
}

// enough reports whether the batch is to go on its way. It is when it is half
// full: the next packet may be as large as the other half.
func (e *extractor) enough() bool {
	return e.b.Free() <= packet.SlabSize/2 || e.b.Len() == packet.MaxPackets
}

// readAll reads until there is nothing more or the batch has enough, and
// reports whether read can return.
func (e *extractor) readAll(fd uintptr) bool {
	if e.split.Next(e.b) {
		return true
	}
	for !e.enough() {
		n, errno := e.sys.read(int(fd), e.buf)
		switch errno {
		case 0:
		case unix.EAGAIN:
			return e.b.Len() > 0
		case unix.EINTR, unix.ENETDOWN:
			// A packet socket says once that its interface went down, or
			// away with its namespace. Afterwards it is silent.
			continue
		default:
			e.err = fmt.Errorf("read %s: %w", e.file.f.Name(), errno)
			return true
		}
		if e.take(e.buf[:n]) {
			return true
		}
	}
	return true
}

// take puts the packets of a frame into the batch, and reports whether some did
// not fit.
func (e *extractor) take(frame []byte) (more bool) {
	h, pkt, ok := e.open(frame)
	if !ok {
		return false
	}
	if e.split.Start(h, pkt) != nil {
		e.malformed.Add(1)
		return false
	}
	return e.split.Next(e.b)
}
