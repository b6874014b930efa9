package netstack

import (
	"encoding/binary"
	"sync/atomic"

	"adit/packet"

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
	senders    *senderPool
	sent       func(pkt []byte) // told of each packet that leaves; may be nil
}

var (
	_ stack.LinkEndpoint = (*link)(nil)
	_ stack.GSOEndpoint  = (*link)(nil)
)

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
	s := l.senders.Get()
	for _, pb := range list.AsSlice() {
		if pb.GSOOptions.Type == stack.GSONone {
			l.writeOne(*upstream, s, pb)
		} else {
			l.writeSuper(*upstream, s, pb)
		}
	}
	if s.batch.Len() > 0 {
		(*upstream)(s.batch)
	}
	l.senders.Put(s)
	return list.Len(), nil
}

// writeOne puts one packet into the batch of s, which leaves when it is full.
func (l *link) writeOne(upstream func(*packet.Batch), s *sender, pb *stack.PacketBuffer) {
	pkt := s.batch.Append(pb.Size())
	if pkt == nil {
		upstream(s.batch)
		s.batch.Reset()
		if pkt = s.batch.Append(pb.Size()); pkt == nil {
			return
		}
	}
	copyPacket(pkt, pb)
	if l.sent != nil {
		l.sent(pkt)
	}
}

// writeSuper splits a super-packet of TCP, whose checksum is only begun, into
// the batch of s.
func (l *link) writeSuper(upstream func(*packet.Batch), s *sender, pb *stack.PacketBuffer) {
	n := pb.Size()
	if n > len(s.scratch) {
		return // not reached: GSOMaxSize
	}
	copyPacket(s.scratch[:n], pb)
	h := packet.VirtioHeader{Kind: packet.VirtioTCPv4, SegmentSize: pb.GSOOptions.MSS}
	if pb.GSOOptions.Type == stack.GSOTCPv6 {
		h.Kind = packet.VirtioTCPv6
	}
	if h.SegmentSize == 0 { // not negotiated yet: it is one segment
		h.SegmentSize = maxSuperPacket
	}
	if s.split.Start(h, s.scratch[:n]) != nil {
		return // not reached: gVisor makes whole headers
	}
	for s.split.Next(s.batch) {
		upstream(s.batch)
		s.batch.Reset()
	}
}

// send carries one packet that was made here upstream.
func (l *link) send(pkt []byte) {
	upstream := l.upstream.Load()
	if upstream == nil {
		return
	}
	s := l.senders.Get()
	if p := s.batch.Append(len(pkt)); p != nil {
		copy(p, pkt)
		(*upstream)(s.batch)
	}
	l.senders.Put(s)
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

// Capabilities implements stack.LinkEndpoint: a receiver verifies checksums.
func (*link) Capabilities() stack.LinkEndpointCapabilities {
	return stack.CapabilityRXChecksumOffload
}

// SupportedGSO implements stack.GSOEndpoint: TCP comes as super-packets, which
// cost gVisor as much as single ones and leave in one batch.
func (*link) SupportedGSO() stack.SupportedGSO { return stack.HostGSOSupported }

// GSOMaxSize implements stack.GSOEndpoint: as many segments as leave sealed in
// one datagram super-packet (UDP_SEGMENT), which is bound by the length of IP.
func (l *link) GSOMaxSize() uint32 {
	const sealed = 32 + 15        // header, tag and padding of WireGuard, §5.4.6
	const headers = 40 + 12       // of IPv6's segment less those of IPv4, with time stamps
	const reserve = 161           // gVisor's own allowance for headers
	mtu := max(l.mtu.Load(), 576) // the segments get smaller than headers below it
	count := maxSuperPacket / (mtu + sealed)
	return min(maxSuperPacket, max(count, 1)*(mtu-headers)+reserve)
}

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
