package hostile

import (
	"encoding/binary"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Packets that a program makes itself.
var rawAttempts = category("raw", usual(refused(unix.EPERM), refused(unix.EPERM, unix.EAFNOSUPPORT), refused(unix.EPERM, unix.EACCES)),
	&Attempt{Name: "raw4-icmp", Does: "a raw socket of IPv4", Control: Powerful, try: tryRawICMP},
	&Attempt{Name: "raw4-header", Does: "a raw socket with a header of its own (IPPROTO_RAW)", Control: Powerful, try: tryRawHeader},
	&Attempt{Name: "raw6-icmp", Does: "a raw socket of IPv6", Control: Powerful, try: tryRaw6},
	&Attempt{Name: "packet-raw", Does: "a frame by AF_PACKET, SOCK_RAW", Control: Powerful, try: tryPacketRaw},
	&Attempt{Name: "packet-dgram", Does: "a packet by AF_PACKET, SOCK_DGRAM", Control: Powerful, try: tryPacketDgram},
	&Attempt{Name: "sock-packet", Does: "a frame by SOCK_PACKET of Linux 2.0", Control: Powerful, try: trySockPacket},
	nested(0, &Attempt{Name: "packet-nested", Does: "AF_PACKET with the capabilities of a nested user namespace", try: tryPacketRaw}),
	nested(0, &Attempt{Name: "raw-nested", Does: "a raw socket with those", try: tryRawICMP}),
)

func tryRawICMP(w *World) Result { return rawEcho(w, false) }

func tryRaw6(w *World) Result { return rawEcho(w, true) }

func rawEcho(w *World, v6 bool) Result {
	protocol := unix.IPPROTO_ICMP
	if v6 {
		protocol = unix.IPPROTO_ICMPV6
	}
	fd, err := unix.Socket(family(v6), unix.SOCK_RAW, protocol)
	if err != nil {
		return noSuch("socket", err)
	}
	msg := w.echo(v6)
	if !v6 {
		binary.BigEndian.PutUint16(msg[2:], checksum(msg))
	}
	return toEach(w.targets(v6), func(t netip.AddrPort) error {
		return unix.Sendto(fd, msg, 0, to(netip.AddrPortFrom(t.Addr(), 0), v6))
	})
}

// udpPacket returns an IPv4 packet with a canary in a UDP datagram (RFC 791,
// RFC 768), from the host to t.
func (w *World) udpPacket(t netip.AddrPort) []byte {
	text := w.canary()
	size := 28 + len(text)
	b := make([]byte, 28, size)
	b[0], b[8], b[9] = 0x45, 64, unix.IPPROTO_UDP
	binary.BigEndian.PutUint16(b[2:], uint16(size))
	src, dst := w.Host4.As4(), t.Addr().As4()
	copy(b[12:], src[:])
	copy(b[16:], dst[:])
	binary.BigEndian.PutUint16(b[10:], checksum(b[:20]))
	binary.BigEndian.PutUint16(b[20:], w.lonely())
	binary.BigEndian.PutUint16(b[22:], t.Port())
	binary.BigEndian.PutUint16(b[24:], uint16(8+len(text))) // no checksum
	return append(b, text...)
}

func tryRawHeader(w *World) Result {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_RAW)
	if err != nil {
		return noSuch("socket", err)
	}
	return toEach(w.targets(false), func(t netip.AddrPort) error {
		return unix.Sendto(fd, w.udpPacket(t), 0, to(t, false))
	})
}

// link returns the interface to send frames by: the host's in a laboratory, else
// its lo, so that they stay on the machine.
func (w *World) link() (index int, name string, mac []byte) {
	mac, _ = net.ParseMAC(w.LinkMAC)
	if !w.Far4.IsValid() || len(mac) != 6 {
		return 1, "lo", make([]byte, 6)
	}
	return w.Link, w.Name, mac
}

// frame returns an Ethernet frame to the interface's own address.
func (w *World) frame() []byte {
	_, _, mac := w.link()
	b := append(append([]byte{}, mac...), mac...)
	return append(append(b, 8, 0), w.udpPacket(netip.AddrPortFrom(w.beyond(false), w.lonely()))...)
}

func tryPacketRaw(w *World) Result {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
	if err != nil {
		return noSuch("socket", err)
	}
	index, _, mac := w.link()
	a := &unix.SockaddrLinklayer{Ifindex: index, Halen: 6}
	copy(a.Addr[:], mac)
	if err := unix.Sendto(fd, w.frame(), 0, a); err != nil {
		return no("send", err)
	}
	return sent()
}

func tryPacketDgram(w *World) Result {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return noSuch("socket", err)
	}
	index, _, mac := w.link()
	a := &unix.SockaddrLinklayer{Protocol: 0x0008, Ifindex: index, Halen: 6} // ETH_P_IP
	copy(a.Addr[:], mac)
	if err := unix.Sendto(fd, w.frame()[14:], 0, a); err != nil {
		return no("send", err)
	}
	return sent()
}

// trySockPacket sends by an interface's name, as SOCK_PACKET has it (packet(7)).
func trySockPacket(w *World) Result {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_PACKET, 0x0300) // ETH_P_ALL
	if err != nil {
		return noSuch("socket", err)
	}
	_, name, _ := w.link()
	// struct sockaddr_pkt: family, device's name (14), protocol
	var a [18]byte
	binary.NativeEndian.PutUint16(a[:], unix.AF_INET)
	copy(a[2:15], name)
	binary.BigEndian.PutUint16(a[16:], unix.ETH_P_IP)
	if err := rawSendto(fd, w.frame(), a[:]); err != nil {
		return no("send", err)
	}
	return sent()
}
