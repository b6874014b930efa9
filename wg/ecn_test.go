package wg

import (
	"encoding/binary"
	"testing"
	"time"

	"adit/wg/wgtest"
)

// RFC 6040 §4.2, figure 4, but for the drop: receive.c.
func TestDecapsulationOfECN(t *testing.T) {
	want := [4][4]uint8{ // inner, outer
		ecnNotECT: {ecnNotECT, ecnNotECT, ecnNotECT, ecnNotECT},
		ecnECT1:   {ecnECT1, ecnECT1, ecnECT1, ecnCE},
		ecnECT0:   {ecnECT0, ecnECT1, ecnECT0, ecnCE},
		ecnCE:     {ecnCE, ecnCE, ecnCE, ecnCE},
	}
	for inner := range uint8(4) {
		for outer := range uint8(4) {
			for _, pkt := range [][]byte{
				wgtest.UDP(insideA, insideB, 60, nil), wgtest.UDP(inside6A, inside6B, 60, nil),
			} {
				setECN(pkt, inner)
				pkt[1] |= 0xc0 // what is beside the field has to stay
				if pkt[0]>>4 == 4 {
					pkt[10], pkt[11] = 0, 0
					sum := wgtest.Checksum(pkt[:20])
					pkt[10], pkt[11] = byte(sum>>8), byte(sum)
				}
				decapsulateECN(pkt, outer)
				if got := innerECN(pkt); got != want[inner][outer] {
					t.Errorf("inner %d, outer %d: came out as %d, want %d", inner, outer, got, want[inner][outer])
				}
				if pkt[1]&0xc0 != 0xc0 {
					t.Errorf("inner %d, outer %d: bits beside the field changed", inner, outer)
				}
				if pkt[0]>>4 == 4 && wgtest.Checksum(pkt[:20]) != 0 {
					t.Errorf("inner %d, outer %d: the header's checksum is wrong", inner, outer)
				}
			}
		}
	}
}

// RFC 6040 §4.1, normal mode: the outer field is a copy of the inner.
func TestEncapsulationCopiesECN(t *testing.T) {
	w, a, b := newPair(t, 1)
	w.run(time.Second)
	for ecn := range uint8(4) {
		for _, pkt := range [][]byte{
			wgtest.UDP(insideA, insideB, 60, nil), wgtest.UDP(inside6A, inside6B, 60, nil),
		} {
			setECN(pkt, ecn)
			a.send(pkt)
			if got := w.Eve.Heard[len(w.Eve.Heard)-1].TOS; got != ecn {
				t.Errorf("a packet marked %d left in a datagram marked %d", ecn, got)
			}
		}
	}
	w.run(time.Second)
	if len(b.got) != 8 {
		t.Fatalf("%d packets of 8 came", len(b.got))
	}
}

func TestAMarkOnTheWayReachesThePacket(t *testing.T) {
	w, a, b := newPair(t, 1)
	w.run(time.Second)
	pkt := wgtest.UDP(insideA, insideB, 60, nil)
	setECN(pkt, ecnECT0)
	a.send(pkt, wgtest.UDP(insideA, insideB, 60, nil))
	w.InTheAir(func(d *wgtest.Datagram) { d.TOS = ecnCE })
	w.run(time.Second)
	if len(b.got) != 2 || innerECN(b.got[0]) != ecnCE || innerECN(b.got[1]) != ecnNotECT {
		t.Fatalf("want two packets, and the mark on the one that can bear it; got %x", b.got)
	}
}

// messages.h, HANDSHAKE_DSCP; send.c: initiations and responses are AF41. Data
// says nothing about the class of the packet in it, which is the program's own
// affair (ip_tunnel_ecn_encap with a class of 0).
func TestHandshakesHaveTheirTrafficClassAndDataHasNone(t *testing.T) {
	w, a, b := newPair(t, 1)
	b.core.load.until = w.now.after(time.Hour) // so that there are cookies too
	for range 10 {
		for _, pkt := range [][]byte{toB(60), wgtest.UDP(inside6A, inside6B, 60, nil)} {
			setTOS(pkt, 0xb8) // expedited forwarding, as a telephone's
			a.send(pkt)       // staged at first, sealed in place later
		}
		w.run(time.Second)
	}
	seen := make(map[uint32]int)
	for _, h := range w.Eve.Heard {
		kind, want := messageType(h.Data), uint8(0x88)
		if kind == typeData || kind == typeCookie {
			want = 0
		}
		seen[kind]++
		if h.TOS != want {
			t.Errorf("a message of type %d has traffic class %#x, want %#x", kind, h.TOS, want)
		}
	}
	if seen[typeInitiation] == 0 || seen[typeResponse] == 0 || seen[typeCookie] == 0 || seen[typeData] < 20 {
		t.Fatalf("seen were %v, want all four types of message", seen)
	}
	if len(b.got) != 20 || b.got[0][1] != 0xb8 {
		t.Fatalf("%d packets came, the first with class %#x: want 20 as they were", len(b.got), b.got[0][1])
	}
}

// setTOS writes the whole traffic class of an IP packet.
func setTOS(pkt []byte, tos uint8) {
	if pkt[0]>>4 == 4 {
		pkt[1], pkt[10], pkt[11] = tos, 0, 0
		binary.BigEndian.PutUint16(pkt[10:], wgtest.Checksum(pkt[:20]))
		return
	}
	pkt[0], pkt[1] = 0x60|tos>>4, tos<<4|pkt[1]&0xf
}

// The class of the outer header is not a mark: only its ECN field comes in, and
// that does whatever the class.
func TestTheOuterDSCPStaysOutside(t *testing.T) {
	for _, mark := range []uint8{ecnECT0, ecnCE} {
		w, a, b := newPair(t, 1)
		w.run(time.Second)
		pkt := toB(60)
		setECN(pkt, ecnECT0)
		a.send(pkt)
		w.InTheAir(func(d *wgtest.Datagram) { d.TOS = 0xb8 | mark }) // a router has classified it
		w.run(time.Second)
		setECN(pkt, mark)
		w.mustGet(b, pkt)
	}
}
