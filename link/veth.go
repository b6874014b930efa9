package link

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"

	"adit/packet"
	"golang.org/x/sys/unix"
)

const (
	etherIPv4 = 0x0800
	etherIPv6 = 0x86dd

	packetIgnoreOutgoing = 23 // PACKET_IGNORE_OUTGOING, Linux 4.20
)

// OpenPacketSocket opens an AF_PACKET socket on the interface, which is the
// engine's end of a veth pair: what the namespace's kernel sends into its end
// comes out of the socket, what is written to the socket comes out of its end.
// The interface is in the calling thread's network namespace and is up; the
// caller needs CAP_NET_RAW there, who uses the descriptor needs nothing.
func OpenPacketSocket(ifindex int) (*os.File, error) {
	// Protocol 0: nothing is queued before all is set.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open packet socket: %w", os.NewSyscallError("socket", err))
	}
	if err := setUpPacketSocket(fd, ifindex); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("open packet socket on interface %d: %w", ifindex, err)
	}
	return os.NewFile(uintptr(fd), "packet socket"), nil
}

func setUpPacketSocket(fd, ifindex int) error {
	// Before the ring: afterwards it is EBUSY.
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1); err != nil {
		return os.NewSyscallError("PACKET_VNET_HDR", err)
	}
	// Good to have: our own packets are also told by their MAC address.
	unix.SetsockoptInt(fd, unix.SOL_PACKET, packetIgnoreOutgoing, 1)
	unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 1)
	if makeRing(fd) != nil {
		if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, udpBuffer) != nil {
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, udpBuffer)
		}
	}
	err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL), Ifindex: ifindex})
	return os.NewSyscallError("bind", err)
}

// A Veth is a packet.Device over a packet socket on one end of a veth pair. It
// stands in for a TUN where /dev/net/tun is missing or closed.
type Veth struct {
	file    *file
	mtu     int
	gateway [6]byte
	in      extractor
	out     injector
	closing sync.Once

	// Of Read, so of one goroutine:
	ring *ring // nil: plain read(2)
	held bool  // the splitter still uses the ring's next frame
}

// NewVeth returns the device over f, which OpenPacketSocket made, and owns f
// from then on. The MTU is that of both ends. Frames are written to the MAC
// address app, that of the namespace's end; those read are the ones sent to
// gateway, which is the namespace's permanent neighbour for its default routes
// and no interface's address: the kernel at the engine's end then takes them for
// somebody else's and leaves them alone.
func NewVeth(f *os.File, app, gateway net.HardwareAddr, o DeviceOptions) (*Veth, error) {
	v, err := newVeth(f, app, gateway, o, linux())
	if err != nil {
		return nil, fmt.Errorf("use %s: %w", f.Name(), err)
	}
	return v, nil
}

func newVeth(f *os.File, app, gateway net.HardwareAddr, o DeviceOptions, sys *kernel) (*Veth, error) {
	if len(app) != 6 || len(gateway) != 6 {
		return nil, errors.New("MAC addresses have six bytes")
	}
	fd, err := dup(f)
	if err != nil {
		return nil, err
	}
	on, err := unix.GetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR)
	if err == nil && on == 0 {
		err = unix.EINVAL
	}
	if err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("PACKET_VNET_HDR", err)
	}
	r, _ := openRing(fd)
	unix.Close(fd)
	file, err := adoptFile(f)
	if err != nil {
		if r != nil {
			r.close()
		}
		return nil, err
	}
	v := &Veth{file: file, mtu: o.MTU, gateway: [6]byte(gateway), ring: r}
	v.in = extractor{file: file, sys: sys, open: v.open}
	v.in.fill = v.readRing
	if r == nil {
		v.in.fill, v.in.buf = v.in.readAll, make([]byte, maxRead)
	}
	if o.DisableOffload {
		o.logger().Info("segmentation offload of the device is switched off")
	}
	v.out.init(file, sys, o.logger())
	v.out.noTCP.Store(o.DisableOffload)
	v.out.noUDP.Store(o.DisableOffload)
	v.out.link = ethernetLen
	for i, typ := range []uint16{etherIPv4, etherIPv6} {
		h := v.out.eth[i][:]
		copy(h, app)
		copy(h[6:], gateway)
		binary.BigEndian.PutUint16(h[12:], typ)
	}
	return v, nil
}

// MTU returns the MTU in bytes that NewVeth was told.
func (v *Veth) MTU() int { return v.mtu }

// Close closes the socket.
func (v *Veth) Close() (err error) {
	v.closing.Do(func() {
		err = v.file.close()
		// Nobody is inside fill any more: closing waited for it, and it is
		// not called again.
		if v.ring != nil {
			v.ring.close()
		}
	})
	return err
}

// Lost returns how many packets were given up here: malformed ones that were
// read, and those written that the kernel did not take. Safe for concurrent use.
func (v *Veth) Lost() uint64 { return v.in.malformed.Load() + v.out.lost.Load() }

// Write writes the packets of b, merged where possible. See packet.Device.
func (v *Veth) Write(b *packet.Batch) error { return v.out.write(b) }

// Read fills b with what has come. See packet.Device.
func (v *Veth) Read(b *packet.Batch) error { return v.in.read(b) }

// readRing is extractor.readAll over the ring. It makes no system call.
func (v *Veth) readRing(uintptr) bool {
	if v.held {
		if v.in.split.Next(v.in.b) {
			return true
		}
		v.held = false
		v.ring.release()
	}
	for !v.in.enough() {
		frame := v.ring.frame(packet.VirtioHeaderLen)
		if frame == nil {
			return v.in.b.Len() > 0
		}
		if v.in.take(frame) {
			v.held = true
			return true
		}
		v.ring.release()
	}
	return true
}

// open takes the headers off a frame, if it is an IP packet for the gateway.
func (v *Veth) open(frame []byte) (h packet.VirtioHeader, pkt []byte, ok bool) {
	const hdr = packet.VirtioHeaderLen + ethernetLen
	if len(frame) <= hdr {
		return h, nil, false
	}
	eth := frame[packet.VirtioHeaderLen:hdr]
	if [6]byte(eth[:6]) != v.gateway {
		return h, nil, false // multicast listener reports and such
	}
	if typ := binary.BigEndian.Uint16(eth[12:]); typ != etherIPv4 && typ != etherIPv6 {
		return h, nil, false
	}
	h = packet.ParseVirtioHeader(frame)
	if h.Flags&packet.VirtioNeedsChecksum != 0 {
		if h.ChecksumStart < ethernetLen {
			return h, nil, false
		}
		h.ChecksumStart -= ethernetLen
	}
	return h, frame[hdr:], true
}
