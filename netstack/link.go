package netstack

import (
	"encoding/binary"
	"sync/atomic"

	"adit/packet"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	gheader "gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// A link is the end of gVisor's stack that faces the tunnel. What gVisor sends
// is copied once, into a batch with the room that the engine wants, and carried
// through the engine to the socket in the goroutine that made it: no queue, and
// no goroutine to wake.
type link struct {
	mtu        atomic.Uint32
	dispatcher atomic.Pointer[stack.NetworkDispatcher]
	upstream   atomic.Pointer[func(*packet.Batch)]
	batches    *batchPool
	sent       func(pkt []byte) // told of each packet that leaves; may be nil
}

var _ stack.LinkEndpoint = (*link)(nil)

// deliver gives a copy of pkt, which comes from the tunnel, to gVisor.
func (l *link) deliver(pkt []byte) {
	d := l.dispatcher.Load()
	if d == nil || len(pkt) == 0 {
		return
	}
	protocol := gheader.IPv4ProtocolNumber
	if pkt[0]>>4 == 6 {
		protocol = gheader.IPv6ProtocolNumber
		simplifyUnreachable6(pkt)
	}
	pb := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(pkt)})
	(*d).DeliverNetworkPacket(protocol, pb)
	pb.DecRef()
}

// simplifyUnreachable6 makes "no route" of every ICMPv6 "unreachable" but "port
// unreachable", in place. gVisor ignores the other codes, above all "address
// unreachable", so that a connect would run into its timeout after two minutes
// instead of failing at once. The price: ENETUNREACH where a kernel would say
// EHOSTUNREACH or EACCES.
func simplifyUnreachable6(pkt []byte) {
	if len(pkt) < ipv6HeaderLen+icmpHeaderLen || pkt[6] != protoICMPv6 {
		return
	}
	icmp := pkt[ipv6HeaderLen:]
	code := icmp[1]
	if icmp[0] != icmp6Unreachable || code == packet.UnreachNoRoute6 || code == packet.UnreachPort6 {
		return
	}
	icmp[1] = packet.UnreachNoRoute6
	// RFC 1624: the sum goes down by the code, so its complement goes up.
	sum := uint32(binary.BigEndian.Uint16(icmp[2:])) + uint32(code)
	binary.BigEndian.PutUint16(icmp[2:], uint16(sum+sum>>16))
}

// WritePackets carries packets of gVisor upstream. gVisor may hold locks of the
// endpoint that sends, so nothing upstream may call back into gVisor.
func (l *link) WritePackets(list stack.PacketBufferList) (int, tcpip.Error) {
	upstream := l.upstream.Load()
	if upstream == nil {
		return list.Len(), nil // no tunnel yet, or none any more: lost on the wire
	}
	b := l.batches.Get()
	for _, pb := range list.AsSlice() {
		pkt := b.Append(pb.Size())
		if pkt == nil {
			(*upstream)(b)
			b.Reset()
			if pkt = b.Append(pb.Size()); pkt == nil {
				continue
			}
		}
		copyPacket(pkt, pb)
		if l.sent != nil {
			l.sent(pkt)
		}
	}
	if b.Len() > 0 {
		(*upstream)(b)
	}
	l.batches.Put(b)
	return list.Len(), nil
}

// send carries one packet that was made here upstream.
func (l *link) send(pkt []byte) {
	upstream := l.upstream.Load()
	if upstream == nil {
		return
	}
	b := l.batches.Get()
	if p := b.Append(len(pkt)); p != nil {
		copy(p, pkt)
		(*upstream)(b)
	}
	l.batches.Put(b)
}

// copyPacket copies all of pb, headers and data, to dst, which is as long.
func copyPacket(dst []byte, pb *stack.PacketBuffer) {
	views, skip := pb.AsViewList()
	n := 0
	for v := views.Front(); v != nil; v = v.Next() {
		s := v.AsSlice()
		if skip >= len(s) {
			skip -= len(s)
			continue
		}
		n += copy(dst[n:], s[skip:])
		skip = 0
	}
}

// MTU implements stack.LinkEndpoint.
func (l *link) MTU() uint32 { return l.mtu.Load() }

// SetMTU implements stack.LinkEndpoint.
func (l *link) SetMTU(mtu uint32) { l.mtu.Store(mtu) }

// MaxHeaderLength implements stack.LinkEndpoint: a tunnel has no header.
func (*link) MaxHeaderLength() uint16 { return 0 }

// LinkAddress implements stack.LinkEndpoint: a tunnel has no addresses.
func (*link) LinkAddress() tcpip.LinkAddress { return "" }

// SetLinkAddress implements stack.LinkEndpoint.
func (*link) SetLinkAddress(tcpip.LinkAddress) {}

// Capabilities implements stack.LinkEndpoint. Checksums of what comes out of
// the tunnel are verified by gVisor: the peer vouches for its key, not for them.
func (*link) Capabilities() stack.LinkEndpointCapabilities { return 0 }

// Attach implements stack.LinkEndpoint.
func (l *link) Attach(d stack.NetworkDispatcher) {
	if d == nil {
		l.dispatcher.Store(nil)
		return
	}
	l.dispatcher.Store(&d)
}

// IsAttached implements stack.LinkEndpoint.
func (l *link) IsAttached() bool { return l.dispatcher.Load() != nil }

// Wait implements stack.LinkEndpoint: there is no goroutine to wait for.
func (*link) Wait() {}

// ARPHardwareType implements stack.LinkEndpoint.
func (*link) ARPHardwareType() gheader.ARPHardwareType { return gheader.ARPHardwareNone }

// AddHeader implements stack.LinkEndpoint.
func (*link) AddHeader(*stack.PacketBuffer) {}

// ParseHeader implements stack.LinkEndpoint.
func (*link) ParseHeader(*stack.PacketBuffer) bool { return true }

// Close implements stack.LinkEndpoint.
func (l *link) Close() { l.upstream.Store(nil) }

// SetOnCloseAction implements stack.LinkEndpoint.
func (*link) SetOnCloseAction(func()) {}
