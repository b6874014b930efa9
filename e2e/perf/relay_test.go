package main

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"golang.org/x/sys/unix"
)

func TestRelayLosesWhatTheDiceSayAndKeepsTheOrder(t *testing.T) {
	const n, size = 10_000, 7
	p := &parcel{size: size}
	for i := range n {
		p.data = append(p.data, 4, 0, 0, 0, byte(i>>16), byte(i>>8), byte(i))
	}
	p.data = p.data[:len(p.data)-2] // the last may be shorter
	for _, loss := range []float64{0, 0.01, 0.5, 1} {
		left := bytes.Join(survivors(p, loss, rand.New(rand.NewPCG(1, 2))), nil)
		got := float64((len(left) + size - 1) / size)
		if want := n * (1 - loss); got < want-200 || got > want+200 {
			t.Errorf("loss %v: %v of %d are left", loss, got, n)
		}
		last := -1
		for at := 0; at+size <= len(left); at += size {
			i := int(left[at+4])<<16 | int(left[at+5])<<8 | int(left[at+6])
			if i <= last {
				t.Fatalf("loss %v: %d after %d", loss, i, last)
			}
			last = i
		}
	}
}

func TestRelayLosesNoHandshake(t *testing.T) {
	p := &parcel{data: []byte{1, 0, 0, 0, 9}, size: 5}
	if got := survivors(p, 1, rand.New(rand.NewPCG(1, 2))); len(got) != 1 || !bytes.Equal(got[0], p.data) {
		t.Errorf("got %v, want all of it", got)
	}
}

func TestSegmentSizeIsAControlMessage(t *testing.T) {
	m, err := unix.ParseSocketControlMessage(segmentSize(1452))
	if err != nil || len(m) != 1 || m[0].Header.Level != unix.IPPROTO_UDP || m[0].Header.Type != unix.UDP_SEGMENT {
		t.Fatalf("got %+v, %v", m, err)
	}
	if got := groSize(nil, 99); got != 99 {
		t.Errorf("without a control message: got %d, want the whole buffer", got)
	}
}

func TestSystemCallsAreReadFromPerf(t *testing.T) {
	got, err := parseCalls("12345,,raw_syscalls:sys_enter,100,100.00,,\n")
	if err != nil || got != 12345 {
		t.Errorf("got %v, %v", got, err)
	}
	for _, bad := range []string{"", "<not counted>,,raw_syscalls:sys_enter,0,0.00,,\n"} {
		if _, err := parseCalls(bad); err == nil {
			t.Errorf("%q is no error", bad)
		}
	}
}

func TestCableIsCountedBothWays(t *testing.T) {
	text := "Inter-|   Receive\n    lo: 5 1 0 0 0 0 0 0 5 1 0 0 0 0 0 0\n  eth0: 100 1 0 0 0 0 0 0 23 1 0 0 0 0 0 0\n"
	if got := onCable(text); got != 123 {
		t.Errorf("got %v, want 123", got)
	}
}
