package link

import (
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"

	"adit/packet"
	"golang.org/x/sys/unix"
)

const ethernetLen = 14

// An injector writes batches to a descriptor that takes a virtio header before
// each packet: a TUN, or with a link header a packet socket.
type injector struct {
	file *file
	sys  *kernel
	log  *slog.Logger
	link int                  // length of the link header: 0 or ethernetLen
	eth  [2][ethernetLen]byte // link headers of IPv4 and IPv6

	noTCP, noUDP atomic.Bool   // the kernel does not take super-packets of that kind
	lost         atomic.Uint64 // packets that the kernel did not take

	pool sync.Pool // of *injection
}

// An injection is what one call of write needs. It is pooled, because writes of
// different goroutines go on side by side.
type injection struct {
	in     *injector
	b      *packet.Batch
	merger packet.Merger
	head   [packet.VirtioHeaderLen + ethernetLen]byte
	parts  [][]byte
	iov    []unix.Iovec
	waited bool
	run    func(fd uintptr)

	// For a super-packet that the kernel did not take:
	plain *packet.Batch
	whole []byte
}

func (in *injector) init(f *file, sys *kernel, log *slog.Logger) {
	in.file, in.sys, in.log = f, sys, log
	in.pool.New = func() any {
		w := &injection{
			in:    in,
			parts: make([][]byte, 0, packet.MaxPackets),
			iov:   make([]unix.Iovec, 0, packet.MaxPackets+1),
		}
		w.run = w.writeAll
		return w
	}
}

// write merges what can be merged and writes all packets of b.
func (in *injector) write(b *packet.Batch) error {
	w := in.pool.Get().(*injection)
	w.b, w.waited = b, false
	err := in.file.control(w.run)
	w.b = nil
	clear(w.parts[:cap(w.parts)])
	clear(w.iov[:cap(w.iov)])
	in.pool.Put(w)
	return err
}

func (w *injection) writeAll(fd uintptr) {
	w.merger.TCP, w.merger.UDP = !w.in.noTCP.Load(), !w.in.noUDP.Load()
	for i := range w.merger.Merge(w.b) {
		var h packet.VirtioHeader
		h, w.parts = w.merger.Piece(i, w.parts[:0])
		switch errno := w.one(int(fd), h); {
		case errno == 0:
		case h.Kind != packet.VirtioNone && refused(errno):
			w.refused(int(fd), h, errno)
		default:
			w.in.lost.Add(uint64(len(w.parts)))
		}
	}
}

// refused reports whether the kernel finds fault with the virtio header itself.
// Linux 6.6.44 and some others did so with headers that are right
// (https://github.com/tailscale/tailscale/issues/13041); those before 6.2 do
// not know datagrams.
func refused(errno unix.Errno) bool { return errno == unix.EINVAL || errno == unix.EOPNOTSUPP }

// one writes the packet that consists of w.parts.
func (w *injection) one(fd int, h packet.VirtioHeader) unix.Errno {
	head := w.head[:packet.VirtioHeaderLen+w.in.link]
	if w.in.link != 0 {
		version := packet.Version(w.parts[0])
		if version == 0 {
			return unix.EINVAL
		}
		copy(head[packet.VirtioHeaderLen:], w.in.eth[(version-4)/2][:])
		if h.Kind != packet.VirtioNone {
			h.HeaderLen += uint16(w.in.link)
			h.ChecksumStart += uint16(w.in.link)
		}
	}
	h.Put(head)
	w.iov = appendIovec(w.iov[:0], head)
	for _, p := range w.parts {
		w.iov = appendIovec(w.iov, p)
	}
	for {
		_, errno := w.in.sys.writev(fd, w.iov)
		switch {
		case errno == unix.EINTR:
		case errno == unix.EAGAIN && !w.waited:
			w.waited = true
			w.in.sys.writable(fd)
		default:
			// ENETDOWN, ENXIO, EIO, EBADFD: the device is down or gone, as
			// happens when the namespace ends. The packet is lost.
			return errno
		}
	}
}

// refused writes a super-packet again as single packets, and has none merged
// from now on.
func (w *injection) refused(fd int, h packet.VirtioHeader, errno unix.Errno) {
	off, what := &w.in.noTCP, "TCP"
	if h.Kind == packet.VirtioUDP {
		off, what = &w.in.noUDP, "UDP"
	}
	if !off.Swap(true) {
		w.in.log.Info("the device does not take merged packets, writing single ones", "protocol", what, "err", errno)
	}
	if w.plain == nil {
		w.plain = packet.NewBatch(packet.Room{})
	}
	w.whole = w.whole[:0]
	for _, p := range w.parts {
		w.whole = append(w.whole, p...)
	}
	var s packet.Splitter
	if s.Start(h, w.whole) != nil {
		return
	}
	for more := true; more; {
		w.plain.Reset()
		more = s.Next(w.plain)
		for i := range w.plain.Len() {
			w.parts = append(w.parts[:0], w.plain.Packet(i))
			if w.one(fd, packet.VirtioHeader{}) != 0 {
				w.in.lost.Add(1)
			}
		}
	}
}

// appendIovec appends an iovec for p, which is not empty.
func appendIovec(v []unix.Iovec, p []byte) []unix.Iovec {
	v = append(v, unix.Iovec{Base: &p[0]})
	v[len(v)-1].SetLen(len(p))
	return v
}

var errNoVirtio = errors.New("not a TUN device with IFF_NO_PI and IFF_VNET_HDR")
