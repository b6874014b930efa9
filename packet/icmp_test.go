package packet

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
)

func TestUnreachableQuotesThePacketToItsSender(t *testing.T) {
	for _, c := range []struct {
		p         template
		from      netip.Addr
		wantFrom  string
		size      int
		typ, code byte
	}{
		{tcp4(), netip.Addr{}, "10.0.0.2", 0, 3, UnreachPort},
		{udp4(), netip.MustParseAddr("192.0.2.1"), "192.0.2.1", 5000, 3, UnreachProhibited},
		{udp6(), netip.MustParseAddr("fd00::ff"), "fd00::ff", 5000, 1, UnreachAddress6},
		{tcp6(), netip.MustParseAddr("192.0.2.1"), "fd00::2", 1, 1, UnreachNoRoute6},
	} {
		c.p.payload = pattern(1, c.size)
		pkt := c.p.build()
		prefix := []byte("kept")
		out := AppendUnreachable(prefix, pkt, c.from, c.code)
		if !bytes.HasPrefix(out, prefix) {
			t.Fatal("what was in dst is gone")
		}
		out = out[len(prefix):]
		src, _ := Src(out)
		dst, _ := Dst(out)
		hdr, most := 20, 576
		pseudo := []byte(nil)
		if src.Is6() {
			hdr, most = 40, 1280
			pseudo = append(src.AsSlice(), dst.AsSlice()...)
			pseudo = binary.BigEndian.AppendUint32(pseudo, uint32(len(out)-40))
			pseudo = append(pseudo, 0, 0, 0, ProtoICMPv6)
		} else if slowSum(out[:20]) != 0xffff {
			t.Errorf("%s: wrong IPv4 checksum", c.p.src)
		}
		if src.String() != c.wantFrom || dst.String() != c.p.src {
			t.Errorf("got %v to %v, want %s to %s", src, dst, c.wantFrom, c.p.src)
		}
		if Len(out) != len(out) || len(out) != min(most, hdr+8+len(pkt)) {
			t.Errorf("%s: %d bytes, header says %d", c.p.src, len(out), Len(out))
		}
		if out[hdr] != c.typ || out[hdr+1] != c.code {
			t.Errorf("type %d code %d, want %d %d", out[hdr], out[hdr+1], c.typ, c.code)
		}
		if slowSum(append(pseudo, out[hdr:]...)) != 0xffff {
			t.Errorf("%s: wrong ICMP checksum", c.p.src)
		}
		if !bytes.HasPrefix(pkt, out[hdr+8:]) {
			t.Errorf("%s: does not quote the packet", c.p.src)
		}
	}
}

func TestTooBigTellsTheMTU(t *testing.T) {
	four := AppendTooBig(nil, udp4().build(), netip.Addr{}, 1300)
	if four[20] != 3 || four[21] != 4 || binary.BigEndian.Uint16(four[26:]) != 1300 || four[24]|four[25] != 0 {
		t.Errorf("IPv4: got %x", four[20:28])
	}
	six := AppendTooBig(nil, udp6().build(), netip.Addr{}, 1300)
	if six[40] != 2 || six[41] != 0 || binary.BigEndian.Uint32(six[44:]) != 1300 {
		t.Errorf("IPv6: got %x", six[40:48])
	}
}

// RFC 1122 §3.2.2, RFC 4443 §2.4 (e).
func TestNoErrorAboutErrorsAndCrowds(t *testing.T) {
	with := func(p template, change func(pkt []byte)) []byte {
		p.payload = pattern(0, 64)
		pkt := p.build()
		change(pkt)
		return pkt
	}
	for name, pkt := range map[string][]byte{
		"nothing":           nil,
		"cut":               udp4().build()[:19],
		"ICMP error":        with(udp4(), func(p []byte) { p[9], p[20] = ProtoICMP, 3 }),
		"ICMPv6 error":      with(udp6(), func(p []byte) { p[6], p[40] = ProtoICMPv6, 1 }),
		"redirect":          with(udp6(), func(p []byte) { p[6], p[40] = ProtoICMPv6, 137 }),
		"later fragment":    with(udp4(), func(p []byte) { p[7] = 1 }),
		"to multicast":      with(udp4(), func(p []byte) { p[16] = 224 }),
		"to broadcast":      with(udp4(), func(p []byte) { copy(p[16:], []byte{255, 255, 255, 255}) }),
		"from nobody":       with(udp4(), func(p []byte) { copy(p[12:], []byte{0, 0, 0, 0}) }),
		"from zero network": with(udp4(), func(p []byte) { copy(p[12:], []byte{0, 1, 2, 3}) }),
		"from class E":      with(udp4(), func(p []byte) { p[12] = 240 }),
		"to multicast IPv6": with(udp6(), func(p []byte) { p[24] = 0xff }),
	} {
		if out := AppendUnreachable(nil, pkt, netip.Addr{}, 0); len(out) > 0 {
			t.Errorf("%s: got an error message", name)
		}
	}
	echo := with(udp4(), func(p []byte) { p[9], p[20] = ProtoICMP, 8 })
	if len(AppendUnreachable(nil, echo, netip.Addr{}, 0)) == 0 {
		t.Error("no error about an echo request")
	}
	// Class E is reserved, but Linux sends to it as to any other address.
	if len(AppendUnreachable(nil, with(udp4(), func(p []byte) { p[16] = 240 }), netip.Addr{}, 0)) == 0 {
		t.Error("no error about a packet to class E")
	}
}
