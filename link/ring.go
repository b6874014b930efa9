package link

import (
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The receive ring of a packet socket (packet(7), PACKET_RX_RING; TPACKET_V2).
// A socket's ordinary queue is limited by net.core.rmem_max, often 208 KiB: six
// super-packets, behind which a veth drops. The ring is not. Its version 3
// would use the memory better, but hands blocks over by a timer, and that costs
// latency.
const (
	ringBlock = 1 << 20
	ringFrame = 17 * 4096 // a packet of 64 KiB with all headers, in whole pages
	perBlock  = ringBlock / ringFrame
	ringLen   = 16 << 20 // 240 packets of whatever size: the SYNs of 200 connections at once
	frames    = ringLen / ringBlock * perBlock
)

// A ring is the mapped memory of a receive ring. One goroutine at a time.
type ring struct {
	mem  []byte
	next int // frame that the kernel fills next
}

// makeRing gives the socket a ring. PACKET_VNET_HDR must be set by then.
func makeRing(fd int) error {
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VERSION, unix.TPACKET_V2); err != nil {
		return os.NewSyscallError("PACKET_VERSION", err)
	}
	req := unix.TpacketReq{Block_size: ringBlock, Block_nr: ringLen / ringBlock, Frame_size: ringFrame, Frame_nr: frames}
	_, _, errno := unix.Syscall6(unix.SYS_SETSOCKOPT, uintptr(fd), unix.SOL_PACKET, unix.PACKET_RX_RING, uintptr(unsafe.Pointer(&req)), unsafe.Sizeof(req), 0)
	if errno != 0 {
		return os.NewSyscallError("PACKET_RX_RING", errno)
	}
	return nil
}

// openRing maps the ring of a socket, if makeRing gave it one.
func openRing(fd int) (*ring, error) {
	mem, err := unix.Mmap(fd, 0, ringLen, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, os.NewSyscallError("mmap", err)
	}
	return &ring{mem: mem}, nil
}

func (r *ring) close() error { return unix.Munmap(r.mem) }

// header returns the header of the next frame.
func (r *ring) header() *unix.Tpacket2Hdr {
	at := r.next/perBlock*ringBlock + r.next%perBlock*ringFrame
	return (*unix.Tpacket2Hdr)(unsafe.Pointer(&r.mem[at]))
}

// frame returns what the next frame holds, from the virtio header on, or nil if
// it is still the kernel's. An incomplete packet comes out empty, not nil.
func (r *ring) frame(virtio int) []byte {
	h := r.header()
	status := atomic.LoadUint32(&h.Status)
	if status&unix.TP_STATUS_USER == 0 {
		return nil
	}
	at := r.next/perBlock*ringBlock + r.next%perBlock*ringFrame
	from, to := int(h.Mac)-virtio, int(h.Mac)+int(h.Snaplen)
	if h.Snaplen < h.Len || from < 0 || to > ringFrame {
		return r.mem[at:at]
	}
	return r.mem[at+from : at+to]
}

// release gives the frame back to the kernel; its bytes are not ours any more.
func (r *ring) release() {
	atomic.StoreUint32(&r.header().Status, unix.TP_STATUS_KERNEL)
	r.next = (r.next + 1) % frames
}
