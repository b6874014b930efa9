package netstack

import (
	"bytes"
	"errors"
	"net"
	"testing"

	"adit/packet"
)

// tunnelConfig is the usual tunnel of the tests.
func tunnelConfig(capture packet.Device) Config {
	return Config{
		Addresses: mustPrefixes("10.9.0.2/24", "fd00:9::2/64"),
		Routes:    mustPrefixes("10.0.0.0/8", "192.0.2.0/24", "2001:db8::/32"),
		Capture:   capture,
	}
}

func TestTransitPassesUntouchedBothWays(t *testing.T) {
	capture := newPipe()
	s := newTestStack(t, tunnelConfig(capture))
	b := packet.NewBatch(testRoom)
	for _, out := range [][]byte{
		tcpPacket("10.9.0.2", "192.0.2.1", 40000, 443, tcpSYN),
		udpPacket("fd00:9::2", "2001:db8::1", 40000, 53),
	} {
		capture.in <- out
		if err := s.Device().Read(b); err != nil {
			t.Fatal(err)
		}
		if b.Len() != 1 || !bytes.Equal(b.Packet(0), out) {
			t.Errorf("out of the capture: got %d packets, first %x, want %x", b.Len(), b.Packet(0), out)
		}
	}
	for _, in := range [][]byte{
		tcpPacket("192.0.2.1", "10.9.0.2", 443, 40000, tcpSYN|tcpACK),
		udpPacket("2001:db8::1", "fd00:9::2", 53, 40000),
	} {
		if err := s.Device().Write(batchOf(in)); err != nil {
			t.Fatal(err)
		}
		if got := capture.wantOut(t, "into the capture"); !bytes.Equal(got, in) {
			t.Errorf("into the capture: got %x, want %x", got, in)
		}
	}
}

func TestReadWaitsForAPacketThatMayPass(t *testing.T) {
	capture := newPipe()
	s := newTestStack(t, tunnelConfig(capture))
	good := udpPacket("10.9.0.2", "192.0.2.1", 40000, 53)
	capture.in <- udpPacket("172.16.0.1", "192.0.2.1", 40000, 53) // not our source
	capture.in <- []byte{0x45}                                    // not a packet
	capture.in <- good
	b := packet.NewBatch(testRoom)
	var got [][]byte
	for len(got) == 0 {
		if err := s.Device().Read(b); err != nil {
			t.Fatal(err)
		}
		for i := range b.Len() {
			if pkt := b.Packet(i); len(pkt) > 0 {
				got = append(got, pkt)
			}
		}
	}
	if len(got) != 1 || !bytes.Equal(got[0], good) {
		t.Errorf("got %x, want only %x", got, good)
	}
}

func TestCloseEndsReadAndWrite(t *testing.T) {
	for name, capture := range map[string]packet.Device{"capture": newPipe(), "no capture": nil} {
		s := newTestStack(t, tunnelConfig(capture))
		d := s.Device()
		done := make(chan error)
		go func() { done <- d.Read(packet.NewBatch(testRoom)) }()
		d.Close()
		d.Close()
		if err := <-done; !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s: Read after Close: got %v, want net.ErrClosed", name, err)
		}
		if err := d.Write(batchOf(udpPacket("192.0.2.1", "10.9.0.2", 1, 2))); !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s: Write after Close: got %v, want net.ErrClosed", name, err)
		}
	}
}

func TestImpossibleConfigIsRefusedAndItsCaptureClosed(t *testing.T) {
	for what, change := range map[string]func(*Config){
		"no address":   func(c *Config) { c.Addresses = nil },
		"negative MTU": func(c *Config) { c.MTU = -1 },
		"huge MTU":     func(c *Config) { c.MTU = 65536 },
	} {
		capture := newPipe()
		cfg := tunnelConfig(capture)
		change(&cfg)
		if s, err := New(cfg); err == nil {
			s.Close()
			t.Errorf("%s: accepted", what)
		} else if !isClosed(capture.closed) {
			t.Errorf("%s: the capture is open", what)
		}
	}
}

func TestTransitDoesNotAllocate(t *testing.T) {
	s := newTestStack(t, tunnelConfig(newPipe()))
	out := batchOf(tcpPacket("10.9.0.2", "192.0.2.1", 40000, 443, tcpACK), udpPacket("fd00:9::2", "2001:db8::1", 40000, 53))
	in := batchOf(tcpPacket("192.0.2.1", "10.9.0.2", 443, 62000, tcpACK), udpPacket("2001:db8::1", "fd00:9::2", 53, 40000),
		icmpPacket("192.0.2.1", "10.9.0.2", 3, 1, udpPacket("10.9.0.2", "192.0.2.1", 62000, 53)))
	if n := testing.AllocsPerRun(100, func() {
		if got := s.filterOutgoing(out); got != 2 {
			t.Fatalf("%d packets left, want 2", got)
		}
		if got := s.filterIncoming(in); got != 3 {
			t.Fatalf("%d packets let in, want 3", got)
		}
	}); n != 0 {
		t.Errorf("got %v allocations, want 0", n)
	}
}
