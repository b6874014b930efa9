package netstack

import (
	"bytes"
	"net/netip"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// Whatever stands in resolv.conf, there are one to three servers, all of them
// addresses (resolv.conf(5)).
func FuzzNameservers(f *testing.F) {
	f.Add([]byte("nameserver 192.0.2.1\nnameserver fe80::1%eth0\n\tnameserver ::1 # x\nsearch a b\n"))
	f.Add([]byte("nameserver\nnameserver x\r\n; nameserver 1.1.1.1"))
	f.Fuzz(func(t *testing.T, text []byte) {
		servers, _ := ParseNameservers(bytes.NewReader(text))
		if len(servers) == 0 || len(servers) > maxNameservers {
			t.Fatalf("%d servers", len(servers))
		}
		for _, s := range servers {
			if !s.IsValid() || s.Port() != 53 {
				t.Fatalf("%v is no server", s)
			}
		}
	})
}

// RFC 1035 §4.2.2: messages with their length before them come out as they
// went in, and what is cut off is an error.
func FuzzMessagesOverTCP(f *testing.F) {
	f.Add([]byte("message"), uint16(0))
	f.Add([]byte{}, uint16(1))
	f.Fuzz(func(t *testing.T, msg []byte, cut uint16) {
		if len(msg) > 1<<16-1 {
			return
		}
		var wire bytes.Buffer
		if err := writeMessage(&wire, msg); err != nil {
			t.Fatal(err)
		}
		whole := bytes.Clone(wire.Bytes())
		got, err := readMessage(&wire)
		if err != nil || !bytes.Equal(got, msg) {
			t.Fatalf("%x came out as %x, %v", msg, got, err)
		}
		if _, err := readMessage(bytes.NewReader(whole[:int(cut)%len(whole)])); err == nil {
			t.Fatal("half a message is taken for one")
		}
	})
}

// A question that the forwarder takes is one that it can ask again.
func FuzzQuestions(f *testing.F) {
	q, _ := newQuestion(9, dnsmessage.MustNewName("www.test."), dnsmessage.TypeAAAA)
	f.Add(q.msg)
	f.Fuzz(func(t *testing.T, msg []byte) {
		q, err := parseQuestion(msg)
		if err != nil {
			return
		}
		again, err := parseQuestion(q.msg)
		if err != nil || !bytes.Equal(again.msg, q.msg) {
			t.Fatalf("%x was taken, and again it is %x, %v", q.msg, again.msg, err)
		}
	})
}

// What the router reads of a packet lies in the packet, and an answer's header
// is the question's turned.
func FuzzRouterHeaders(f *testing.F) {
	f.Add(append([]byte{0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2}, make([]byte, 8)...))
	f.Add(append([]byte{0x60, 0, 0, 0, 0, 8, 58, 64}, make([]byte, 40)...))
	f.Fuzz(func(t *testing.T, pkt []byte) {
		var h, quoted header
		if !h.parse(pkt) {
			quoted.parseQuoted(pkt)
			return
		}
		if h.Offset+len(h.payload) > len(pkt) {
			t.Fatalf("a payload of %d bytes at %d of %d", len(h.payload), h.Offset, len(pkt))
		}
		h.isTCPOpening()
		if src, dst := h.src, h.dst; true {
			h.turn()
			if h.src != dst || h.dst != src || h.src == (netip.Addr{}) {
				t.Fatalf("%v to %v turned is %v to %v", src, dst, h.src, h.dst)
			}
		}
	})
}
