package netstack

import (
	"testing"

	"adit/packet"
)

// BenchmarkTransit is what the router costs per packet of a full batch.
func BenchmarkTransit(b *testing.B) {
	s := newTestStack(b, tunnelConfig(newPipe()))
	var pkts [][]byte
	for range packet.MaxPackets / 2 {
		pkts = append(pkts, tcpPacket(ours4, far4, 40000, 443, tcpACK))
	}
	out := batchOf(pkts...)
	for i := range pkts {
		pkts[i] = tcpPacket(far4, ours4, 443, 40000, tcpACK)
	}
	in := batchOf(pkts...)
	b.Run("outgoing", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			s.filterOutgoing(out)
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*out.Len()), "ns/pkt")
	})
	b.Run("incoming", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			s.routeIncoming(in)
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*in.Len()), "ns/pkt")
	})
}

// BenchmarkNetstackTCP is one stream between two Stacks, without a tunnel.
func BenchmarkNetstackTCP(b *testing.B) {
	p := newPair(b, Config{})
	l := mustListen(b, p.far, "tcp", ":80")
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := l.Accept()
		if err != nil {
			return
		}
		buf := make([]byte, 256<<10)
		for {
			if _, err := c.Read(buf); err != nil {
				c.Close()
				return
			}
		}
	}()
	c := mustDial(b, p.near, "tcp", "192.0.2.1:80")
	buf := make([]byte, 64<<10)
	b.SetBytes(int64(len(buf)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Write(buf); err != nil {
			b.Fatal(err)
		}
	}
	c.(Conn).CloseWrite()
	<-done
}

// BenchmarkNew is what a Stack costs a program that is started in a tunnel.
func BenchmarkNew(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		s, err := New(tunnelConfig(newPipe()))
		if err != nil {
			b.Fatal(err)
		}
		s.Close()
	}
}
