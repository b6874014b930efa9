package netstack

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"io"
	"slices"
	"sync"
	"testing"

	"adit/packet"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// A catcher is gVisor as the link sees it.
type catcher struct{ got [][]byte }

func (c *catcher) DeliverNetworkPacket(_ tcpip.NetworkProtocolNumber, pb *stack.PacketBuffer) {
	c.got = append(c.got, bytes.Join(pb.AsSlices(), nil))
}

func (*catcher) DeliverLinkPacket(tcpip.NetworkProtocolNumber, *stack.PacketBuffer) {}

// dataSegment returns a segment with data and checksums.
func dataSegment(src, dst string, srcPort uint16, seq uint32, data []byte) []byte {
	pkt := slices.Concat(tcpPacket(src, dst, srcPort, 80, tcpACK), data)
	tcp := pkt[len(pkt)-len(data)-tcpHeaderLen:]
	binary.BigEndian.PutUint32(tcp[4:], seq)
	if pkt[0]>>4 == 4 {
		binary.BigEndian.PutUint16(pkt[2:], uint16(len(pkt)))
		pkt[6] = 0x40 // DF: the identification means nothing
	} else {
		binary.BigEndian.PutUint16(pkt[4:], uint16(len(pkt)-ipv6HeaderLen))
	}
	return fixChecksums(pkt)
}

// dataOf returns the data of a segment without options.
func dataOf(pkt []byte) []byte {
	if pkt[0]>>4 == 4 {
		return pkt[ipv4HeaderLen+tcpHeaderLen:]
	}
	return pkt[ipv6HeaderLen+tcpHeaderLen:]
}

// receiveAll has gVisor given the packets of one batch and returns what it got.
func receiveAll(pkts ...[]byte) [][]byte {
	b := batchOf(pkts...)
	var l link
	var c catcher
	l.Attach(&c)
	in := l.receive(b)
	for i := range b.Len() {
		in.add(b, i)
	}
	in.end()
	return c.got
}

func TestSegmentsOfEachStreamReachGVisorAsOne(t *testing.T) {
	var pkts [][]byte
	var want4, want6 []byte
	for i := range 20 {
		part := bytes.Repeat([]byte{byte(i)}, 1000)
		want4 = append(want4, part...)
		pkts = append(pkts, dataSegment(far4, ours4, 443, uint32(1000*i), part))
		part = bytes.Repeat([]byte{byte(i)}, 700)
		want6 = append(want6, part...)
		pkts = append(pkts, dataSegment(far6, ours6, 444, uint32(700*i), part))
	}
	got := receiveAll(pkts...)
	if len(got) != 2 {
		t.Fatalf("gVisor got %d packets, want 2", len(got))
	}
	for i, want := range [][]byte{want4, want6} {
		if packet.Len(got[i]) != len(got[i]) {
			t.Errorf("packet %d says it has %d bytes, and has %d", i, packet.Len(got[i]), len(got[i]))
		}
		if !bytes.Equal(dataOf(got[i]), want) {
			t.Errorf("packet %d has other data than its segments", i)
		}
	}
}

func TestWhatIsNotTheNextSegmentStaysWhereItIs(t *testing.T) {
	data := func(seq uint32) []byte {
		return dataSegment(far4, ours4, 443, seq, bytes.Repeat([]byte{byte(seq / 1000)}, 1000))
	}
	bad := data(5000)
	bad[len(bad)-1] ^= 1
	ack := fixChecksums(tcpPacket(far4, ours4, 443, 80, tcpACK))
	other := fixChecksums(udpPacket(far4, ours4, 443, 80))
	got := receiveAll(data(0), data(1000), data(3000), data(2000), bad, ack, other, data(3000), data(4000))
	var lens []int
	for _, pkt := range got {
		lens = append(lens, len(pkt))
	}
	// A gap, a step back, a wrong checksum and what is no data end a run.
	want := []int{2040, 1040, 1040, 40, 32, 2040}
	if !slices.Equal(lens, want) {
		t.Errorf("gVisor got packets of %v bytes, want %v", lens, want)
	}
}

func TestStreamsSurviveBadWeather(t *testing.T) {
	for seed := range uint64(2) {
		p := newPair(t, Config{})
		join(t, p.near, p.far, badWeather(2*seed))
		join(t, p.far, p.near, badWeather(2*seed+1))
		go serveEcho(mustListen(t, p.far, "tcp", ":80"))
		c := mustDial(t, p.near, "tcp", "192.0.2.1:80")
		sent, got := sha256.New(), sha256.New()
		const size = 256 << 10
		go func() {
			io.Copy(io.MultiWriter(c, sent), io.LimitReader(&counter{}, size))
			c.(Conn).CloseWrite()
		}()
		n, err := io.Copy(got, c)
		if n != size || err != nil {
			t.Fatalf("seed %d: got %d bytes, %v, want %d", seed, n, err, size)
		}
		if !bytes.Equal(sent.Sum(nil), got.Sum(nil)) {
			t.Errorf("seed %d: what came back is not what was sent", seed)
		}
	}
}

func TestStreamLeavesInSegmentsOfTheMTUAndInOrder(t *testing.T) {
	p := newPair(t, Config{})
	var mu sync.Mutex // the last acknowledgement may leave when all has arrived
	var next uint32   // the sequence number behind all that has left
	var segments, reordered, tooLong int
	join(t, p.near, p.far, func(pkt []byte, b *packet.Batch) {
		mu.Lock()
		defer mu.Unlock()
		copy(b.Append(len(pkt)), pkt)
		if len(pkt) > p.near.mtu {
			tooLong++
		}
		tcp := pkt[ipv4HeaderLen:]
		seq, takes := binary.BigEndian.Uint32(tcp[4:]), uint32(len(tcp)-int(tcp[12]>>4)*4)
		if tcp[13]&(tcpSYN|1) != 0 {
			takes++ // SYN and FIN are numbered, too: RFC 9293 §3.4
		}
		if tcp[13]&tcpSYN != 0 {
			next = seq + takes
			return
		}
		// What leaves again, for want of an acknowledgement or to ask for the
		// window, begins further back; what leaves too soon leaves a gap.
		if int32(seq-next) > 0 {
			reordered++
		}
		if end := seq + takes; int32(end-next) > 0 {
			next = end
		}
		segments++
	})
	l := mustListen(t, p.far, "tcp", ":80")
	const size = 16 << 20
	done := make(chan int64, 1) // how many bytes have arrived, once
	go func() {
		c, err := l.Accept()
		if err != nil {
			done <- 0
			return
		}
		n, _ := io.Copy(io.Discard, c)
		c.Close()
		done <- n
	}()
	c := mustDial(t, p.near, "tcp", "192.0.2.1:80")
	if n, err := io.Copy(c, io.LimitReader(&counter{}, size)); n != size || err != nil {
		t.Fatalf("sent %d bytes, %v, want %d", n, err, size)
	}
	c.(Conn).CloseWrite()
	if n := <-done; n != size {
		t.Errorf("%d bytes arrived, want %d", n, size)
	}
	mu.Lock()
	defer mu.Unlock()
	if segments < size/p.near.mtu || reordered != 0 || tooLong != 0 {
		t.Errorf("of %d segments %d left out of order, %d longer than the MTU", segments, reordered, tooLong)
	}
}
