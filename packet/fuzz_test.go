package packet

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
)

// The header of a super-packet, read and written again, is the same bytes.
func FuzzVirtioHeaderIsWhatWasRead(f *testing.F) {
	f.Add(make([]byte, VirtioHeaderLen))
	f.Add([]byte{1, 4, 60, 0, 0x6e, 5, 40, 0, 16, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < VirtioHeaderLen {
			return
		}
		var again [VirtioHeaderLen]byte
		ParseVirtioHeader(b).Put(again[:])
		if !bytes.Equal(again[:], b[:VirtioHeaderLen]) {
			t.Fatalf("%x came out as %x", b[:VirtioHeaderLen], again)
		}
	})
}

// RFC 1122 §3.2.2, RFC 4443 §2.4: whatever the packet, the error about it is a
// packet of its own with right checksums, goes to the packet's source, quotes
// it, is no larger than may be, and is itself answered by none.
func FuzzErrorsAboutPackets(f *testing.F) {
	f.Add(tcp4().build(), uint8(3), uint16(1280))
	f.Add(udp6().build(), uint8(4), uint16(0))
	f.Fuzz(func(t *testing.T, pkt []byte, code uint8, mtu uint16) {
		for _, out := range [][]byte{
			AppendUnreachable(nil, pkt, netip.Addr{}, code), AppendTooBig(nil, pkt, netip.Addr{}, int(mtu)),
		} {
			if len(out) == 0 {
				continue
			}
			wantError(t, pkt, out)
			if again := AppendUnreachable(nil, out, netip.Addr{}, code); len(again) != 0 {
				t.Fatalf("the error %x is answered with an error", out)
			}
		}
	})
}

func wantError(t *testing.T, pkt, out []byte) {
	t.Helper()
	if Len(out) != len(out) || len(out) > MaxUnreachable {
		t.Fatalf("an error of %d bytes says that it has %d", len(out), Len(out))
	}
	to, _ := Dst(out)
	if from, _ := Src(pkt); to != from {
		t.Fatalf("an error about a packet from %v goes to %v", from, to)
	}
	hdr, pseudo := 20, []byte(nil)
	if src, _ := Src(out); src.Is6() {
		hdr = 40
		pseudo = append(src.AsSlice(), to.AsSlice()...)
		pseudo = binary.BigEndian.AppendUint32(pseudo, uint32(len(out)-40))
		pseudo = append(pseudo, 0, 0, 0, ProtoICMPv6)
	} else if slowSum(out[:20]) != 0xffff {
		t.Fatal("wrong IPv4 checksum")
	}
	if slowSum(append(pseudo, out[hdr:]...)) != 0xffff {
		t.Fatal("wrong ICMP checksum")
	}
	if !bytes.HasPrefix(pkt, out[hdr+8:]) {
		t.Fatal("the error does not quote the packet")
	}
}
