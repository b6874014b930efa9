package packet

import (
	"encoding/binary"
	"testing"
)

func TestTransportWalksOverExtensions(t *testing.T) {
	p := udp6()
	p.payload = []byte("x")
	// hop-by-hop, destination options of 16 bytes, authentication of 12+4, atomic fragment
	p.extensions = []byte{
		protoDestination, 0, 1, 4, 0, 0, 0, 0,
		protoAuth, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
		protoFragment, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
		ProtoUDP, 0, 0, 0, 0, 0, 0, 1,
	}
	p.next = protoHopByHop
	pkt := p.build()
	got, ok := Transport(pkt)
	want := TransportHeader{Proto: ProtoUDP, Offset: 40 + len(p.extensions), SrcPort: 1000, DstPort: 443}
	if !ok || got != want {
		t.Errorf("got %+v %v, want %+v", got, ok, want)
	}
	for n := range 40 + len(p.extensions) + 4 {
		if tr, ok := Transport(pkt[:n]); ok {
			t.Errorf("cut to %d bytes: got %+v, want failure", n, tr)
		}
	}
	binary.BigEndian.PutUint16(pkt[40+40+2:], 8|1) // a later fragment now
	got, ok = Transport(pkt)
	if !ok || !got.Fragment || !got.Later || got.SrcPort != 0 || got.Proto != ProtoUDP {
		t.Errorf("later fragment: got %+v %v", got, ok)
	}
}

func TestTransportOfIPv4(t *testing.T) {
	p := tcp4()
	pkt := p.build()
	got, ok := Transport(pkt)
	if want := (TransportHeader{Proto: ProtoTCP, Offset: 20, SrcPort: 1000, DstPort: 80}); !ok || got != want {
		t.Errorf("got %+v %v, want %+v", got, ok, want)
	}
	pkt[6], pkt[7] = 0x20, 0
	if got, _ := Transport(pkt); !got.Fragment || got.Later || got.SrcPort != 1000 {
		t.Errorf("first fragment: got %+v", got)
	}
	pkt[7] = 1
	if got, _ := Transport(pkt); !got.Fragment || !got.Later || got.SrcPort != 0 {
		t.Errorf("later fragment: got %+v", got)
	}
	pkt[0] = 0x44
	if _, ok := Transport(pkt); ok {
		t.Error("header length of 16 accepted")
	}
}

// A length field near its end must not wrap: an int, not 16 bits.
func TestLenDoesNotWrap(t *testing.T) {
	six := make([]byte, 100)
	six[0] = 0x60
	binary.BigEndian.PutUint16(six[4:], 65535)
	if got := Len(six); got != 0 {
		t.Errorf("IPv6 payload of 65535 in 100 bytes: got %d, want 0", got)
	}
	binary.BigEndian.PutUint16(six[4:], 50)
	if got := Len(six); got != 90 {
		t.Errorf("got %d, want 90", got)
	}
	four := make([]byte, 100)
	four[0], four[3] = 0x46, 23
	if got := Len(four); got != 0 {
		t.Errorf("IPv4 length of 23 with a header of 24: got %d, want 0", got)
	}
	four[3] = 24
	if got := Len(four); got != 24 {
		t.Errorf("got %d, want 24", got)
	}
}

func FuzzHeadersNeverPanic(f *testing.F) {
	f.Add(tcp4().build())
	f.Add(udp6().build())
	f.Fuzz(func(t *testing.T, pkt []byte) {
		if n := Len(pkt); n > len(pkt) {
			t.Fatalf("Len %d of %d bytes", n, len(pkt))
		}
		tr, ok := Transport(pkt)
		if ok && tr.Offset > len(pkt) {
			t.Fatalf("transport header at %d of %d bytes", tr.Offset, len(pkt))
		}
		src, ok := Src(pkt)
		if dst, ok2 := Dst(pkt); ok != ok2 || src.Is4() != dst.Is4() {
			t.Fatalf("source %v, destination %v", src, dst)
		}
		for _, e := range [][]byte{AppendUnreachable(nil, pkt, src, 3), AppendTooBig(nil, pkt, src, 1280)} {
			if len(e) > MaxUnreachable || len(e) > 0 && Len(e) != len(e) {
				t.Fatalf("ICMP error of %d bytes, Len %d", len(e), Len(e))
			}
		}
	})
}
