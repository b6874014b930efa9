package netstack

import (
	"encoding/binary"
	"sync"

	"adit/packet"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	gheader "gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// A receiver gives packets of the tunnel to gVisor. The segments of a stream
// that come in one batch are merged first, and laid out in one piece of memory,
// so that gVisor goes through its layers once for all of them and has one
// buffer to keep instead of one for each.
type receiver struct {
	to    stack.NetworkDispatcher
	local packet.Batch // those packets of the tunnel's batch that are gVisor's
	merge packet.Merger
	parts [][]byte
}

// receivers are used by one batch at a time. What they point to in between is
// not looked at again.
var receivers = sync.Pool{New: func() any {
	return &receiver{merge: packet.Merger{TCP: true}}
}}

// none has no packets.
var none packet.Batch

// receive begins to take packets of b. It returns nil when there is nobody to
// receive them.
func (l *link) receive(b *packet.Batch) *receiver {
	d := l.dispatcher.Load()
	if d == nil {
		return nil
	}
	r := receivers.Get().(*receiver)
	r.to = *d
	r.local.Share(b)
	return r
}

// add takes packet i of b, of which gVisor will be given a copy by end. What
// does not carry the right checksums is lost. The bytes of the packet may change.
func (r *receiver) add(b *packet.Batch, i int) {
	if r == nil {
		return
	}
	pkt := b.Packet(i)
	pkt = pkt[:packet.Len(pkt)]
	if len(pkt) == 0 || !checksumsHold(pkt) {
		return
	}
	if pkt[0]>>4 == 6 {
		simplifyUnreachable6(pkt)
	}
	r.local.Add(b.Offset(i), len(pkt), nil, 0)
}

// end gives gVisor what was taken.
func (r *receiver) end() {
	if r == nil {
		return
	}
	for i := range r.merge.Merge(&r.local) {
		_, r.parts = r.merge.Piece(i, r.parts[:0])
		r.deliver()
	}
	clear(r.parts)
	r.to = nil
	r.local.Share(&none)
	receivers.Put(r)
}

// deliver gives gVisor the packet that is made up of r.parts.
func (r *receiver) deliver() {
	n := 0
	for _, p := range r.parts {
		n += len(p)
	}
	v := buffer.NewView(n)
	for _, p := range r.parts {
		v.Write(p)
	}
	protocol := tcpip.NetworkProtocolNumber(gheader.IPv4ProtocolNumber)
	if r.parts[0][0]>>4 == 6 {
		protocol = gheader.IPv6ProtocolNumber
	}
	pb := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithView(v)})
	pb.NetworkProtocolNumber = protocol
	pb.RXChecksumValidated = true
	r.to.DeliverNetworkPacket(protocol, pb)
	pb.DecRef()
}

// checksumsHold verifies pkt's checksums, of which gVisor is told that they are
// verified: merged segments have none any more. The checksum of a datagram that
// comes in fragments is not verified.
func checksumsHold(pkt []byte) bool {
	if pkt[0]>>4 == 4 && packet.Fold(packet.Sum(0, pkt[:int(pkt[0]&15)*4])) != 0xffff {
		return false
	}
	var h header
	if !h.parse(pkt) {
		return false
	}
	if h.Fragment || h.Later {
		return true
	}
	switch h.Proto {
	case protoICMP:
		return packet.Fold(packet.Sum(0, h.payload)) == 0xffff
	case protoUDP:
		if len(h.payload) < udpHeaderLen {
			return false
		}
		if h.src.Is4() && binary.BigEndian.Uint16(h.payload[6:]) == 0 {
			return true // RFC 768: none was made
		}
		// What lies behind the datagram is not summed.
		n := int(binary.BigEndian.Uint16(h.payload[4:]))
		if n < udpHeaderLen || n > len(h.payload) {
			return false
		}
		h.payload = h.payload[:n]
	case protoTCP, protoICMPv6:
	default:
		return true
	}
	return packet.Fold(packet.Sum(packet.PseudoSum(h.src, h.dst, h.Proto, len(h.payload)), h.payload)) == 0xffff
}
