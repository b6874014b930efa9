package link

import (
	"errors"
	"slices"
	"testing"

	"adit/packet"
	"golang.org/x/sys/unix"
)

// udpFrame returns a packet of the given length as a TUN gives it.
func udpFrame(n int) []byte {
	f := make([]byte, packet.VirtioHeaderLen+n)
	f[packet.VirtioHeaderLen] = 0x45
	return f
}

func TestBatchEndsWhereTheDeviceHasNoMore(t *testing.T) {
	s := newSpace(t)
	var script []any // []byte: a packet; unix.Errno: an error
	k := linux()
	k.read = func(fd int, p []byte) (int, unix.Errno) {
		if len(script) == 0 {
			return sysRead(fd, p)
		}
		next := script[0]
		script = script[1:]
		if errno, ok := next.(unix.Errno); ok {
			return 0, errno
		}
		return copy(p, next.([]byte)), 0
	}
	dev := s.tun(k, testMTU, "10.9.0.1/24")
	bad := udpFrame(100)
	packet.VirtioHeader{Kind: packet.VirtioTCPv4, SegmentSize: 10}.Put(bad) // no TCP
	read := func(what string, frames []any, want ...int) {
		t.Helper()
		script = frames
		b := packet.NewBatch(packet.Room{Head: 16, Tail: 16, Align: 16, MTU: testMTU})
		if err := dev.Read(b); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		var got []int
		for i := range b.Len() {
			got = append(got, len(b.Packet(i)))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: got packets of %v bytes, want %v", what, got, want)
		}
	}
	read("until EAGAIN", []any{udpFrame(40), udpFrame(50), unix.EAGAIN}, 40, 50)
	read("through EINTR and ENETDOWN", []any{unix.EINTR, udpFrame(40), unix.ENETDOWN, udpFrame(50), unix.EAGAIN}, 40, 50)
	read("without malformed ones", []any{bad, make([]byte, packet.VirtioHeaderLen), udpFrame(40), []byte("short"), unix.EAGAIN}, 40)
	var many []any
	for range 2 * packet.MaxPackets {
		many = append(many, udpFrame(40))
	}
	read("no more than fit", many, same(packet.MaxPackets, 40)...)
	read("no more than fit", script, same(packet.MaxPackets, 40)...)
	read("a large one and what is behind it later", []any{udpFrame(65535), udpFrame(60000), udpFrame(1)}, 65535)
	if dev.Lost() != 1 {
		t.Errorf("%d counted as lost, want the malformed one", dev.Lost())
	}
	script = []any{unix.EBADFD}
	if err := dev.Read(packet.NewBatch(packet.Room{})); !errors.Is(err, unix.EBADFD) {
		t.Errorf("device gone: got %v, want %v", err, unix.EBADFD)
	}
}

func FuzzFramesNeverPanic(f *testing.F) {
	frame := make([]byte, packet.VirtioHeaderLen+ethernetLen, 200)
	packet.VirtioHeader{Flags: packet.VirtioNeedsChecksum, ChecksumStart: 34, ChecksumOffset: 6}.Put(frame)
	copy(frame[packet.VirtioHeaderLen:], gatewayMAC)
	copy(frame[packet.VirtioHeaderLen+12:], []byte{8, 0, 0x45})
	f.Add(append(frame, make([]byte, 40)...))
	v := &Veth{gateway: [6]byte(gatewayMAC)}
	v.in.open = v.open
	v.in.b = packet.NewBatch(packet.Room{})
	f.Fuzz(func(t *testing.T, frame []byte) {
		for more := v.in.take(frame); more; more = v.in.split.Next(v.in.b) {
			v.in.b.Reset()
		}
		v.in.b.Reset()
	})
}
