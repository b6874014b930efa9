package netstack

import (
	"encoding/binary"
	"sync"

	"adit/packet"

	"gvisor.dev/gvisor/pkg/buffer"
	gheader "gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/stack/gro"
)

// A receiver gives packets of the tunnel to gVisor, and merges the segments of
// a stream that come in one batch, so that gVisor goes through its layers once.
type receiver struct {
	gro gro.GRO
}

// receivers are used by one batch at a time, and hold nothing in between.
var receivers = sync.Pool{New: func() any {
	r := new(receiver)
	r.gro.Init(true)
	return r
}}

// receive begins a batch. It returns nil when there is nobody to receive it.
func (l *link) receive() *receiver {
	d := l.dispatcher.Load()
	if d == nil {
		return nil
	}
	r := receivers.Get().(*receiver)
	r.gro.Dispatcher = *d
	return r
}

// add gives gVisor a copy of pkt, now or at end. It may change pkt. What does
// not carry the right checksums is lost.
func (r *receiver) add(pkt []byte) {
	pkt = pkt[:packet.Len(pkt)]
	if r == nil || len(pkt) == 0 || !checksumsHold(pkt) {
		return
	}
	protocol := gheader.IPv4ProtocolNumber
	if pkt[0]>>4 == 6 {
		protocol = gheader.IPv6ProtocolNumber
		simplifyUnreachable6(pkt)
	}
	pb := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(pkt)})
	pb.NetworkProtocolNumber = protocol
	pb.RXChecksumValidated = true
	if isStream(pkt) {
		r.gro.Enqueue(pb)
	} else {
		r.gro.Dispatcher.DeliverNetworkPacket(protocol, pb)
	}
	pb.DecRef()
}

// end gives gVisor what has been held back to be merged.
func (r *receiver) end() {
	if r == nil {
		return
	}
	// Flush takes only the first packet out of each bucket (its loop goes on
	// from an element that it has removed), and a bucket holds eight.
	const bucketSize = 8
	for range bucketSize {
		r.gro.Flush()
	}
	r.gro.Dispatcher = nil
	receivers.Put(r)
}

// isStream reports whether pkt is worth to be held back: a TCP segment.
func isStream(pkt []byte) bool {
	if pkt[0]>>4 == 4 {
		return pkt[9] == protoTCP
	}
	return pkt[6] == protoTCP
}

// checksumsHold verifies pkt's checksums, of which gVisor is told that they are
// verified: it could not merge segments otherwise. The checksum of a datagram
// that comes in fragments is not verified.
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
