package wg

import (
	"context"
	"fmt"
	"net"
	"testing"
	"time"

	"adit/packet"
	"adit/wg/wgtest"
)

// sealThenOpen returns functions that seal a batch of n packets of that size at
// one end and open it at the other.
func sealThenOpen(t testing.TB, n, size int) (seal, open func()) {
	w, a, b := newPair(&testing.T{}, 1)
	w.run(time.Second)
	pkt := toB(size)
	batch := packet.NewBatch(Room(1420))
	way := &packet.Path{Remote: outsideA, Local: outsideB.Addr()}
	seal = func() {
		batch.Reset()
		for range n {
			copy(batch.Append(size), pkt)
		}
		a.core.seal(w.now, batch, nil)
	}
	open = func() {
		for i := range n {
			batch.SetPath(i, way)
		}
		b.core.receive(w.now, batch, b.out)
		if batch.Len() != n || len(batch.Packet(n-1)) != size {
			t.Fatal("the packets did not come through")
		}
	}
	seal() // the replay window is made by the first packet
	open()
	return seal, open
}

func TestTheDataPathDoesNotAllocate(t *testing.T) {
	seal, open := sealThenOpen(t, 40, 1420)
	if n := testing.AllocsPerRun(100, func() { seal(); open() }); n != 0 {
		t.Fatalf("sealing and opening 40 packets allocates %v times", n)
	}
}

// The same for the shell: Outbound into a Transport that takes everything.
func TestOutboundDoesNotAllocate(t *testing.T) {
	network := wgtest.NewNetwork(1)
	keyA, keyB := NewPrivateKey(), NewPrivateKey()
	ofA := Peer{PublicKey: keyA.Public(), AllowedIPs: allowed(insideA)}
	ofB := Peer{PublicKey: keyB.Public(), AllowedIPs: allowed(insideB), Endpoint: endpointAt(outsideB)}
	null := &nullTransport{Transport: network.Listen(outsideA)}
	a := runEngine(t, Config{PrivateKey: keyA, Device: wgtest.NewPipe(1420), Transport: null, Peers: []Peer{ofB}})
	runEngine(t, Config{PrivateKey: keyB, Device: wgtest.NewPipe(1420), Transport: network.Listen(outsideB), Peers: []Peer{ofA}})
	if err := a.Ready(testContext(t)); err != nil {
		t.Fatal(err)
	}
	null.drop = true
	b := packet.NewBatch(Room(1420))
	pkt := toB(1420)
	if n := testing.AllocsPerRun(100, func() {
		b.Reset()
		for range 40 {
			copy(b.Append(1420), pkt)
		}
		a.Outbound(b)
	}); n != 0 {
		t.Fatalf("Outbound of 40 packets allocates %v times", n)
	}
}

// nullTransport drops what is written, once told so by its only writer.
type nullTransport struct {
	Transport
	drop bool
}

func (n *nullTransport) Write(b *packet.Batch) error {
	if n.drop {
		return nil
	}
	return n.Transport.Write(b)
}

func BenchmarkSealAndOpen(b *testing.B) {
	for _, size := range []int{64, 512, 1420} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			seal, open := sealThenOpen(b, 40, size)
			b.SetBytes(int64(40 * size))
			for b.Loop() {
				seal()
				open()
			}
		})
	}
}

func BenchmarkSeal(b *testing.B) {
	for _, size := range []int{64, 512, 1420} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			seal, _ := sealThenOpen(b, 40, size)
			b.SetBytes(int64(40 * size))
			for b.Loop() {
				seal()
			}
		})
	}
}

func BenchmarkHandshake(b *testing.B) {
	for b.Loop() {
		w, x, _ := newPair(&testing.T{}, 1)
		w.run(100 * time.Millisecond)
		if x.count(SessionUp) != 1 {
			b.Fatal("no session")
		}
	}
}

// Two engines with all that belongs to them but the kernel: what one Device
// gives the other gets.
func BenchmarkEnginePair(b *testing.B) {
	network := wgtest.NewNetwork(1)
	keyA, keyB := NewPrivateKey(), NewPrivateKey()
	sink := &sinkDevice{want: make(chan int, 1), done: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	ea, err := New(Config{PrivateKey: keyA, Device: wgtest.NewPipe(1420), Transport: network.Listen(outsideA), Peers: []Peer{
		{PublicKey: keyB.Public(), AllowedIPs: allowed(insideB), Endpoint: endpointAt(outsideB)}}})
	if err != nil {
		b.Fatal(err)
	}
	eb, err := New(Config{PrivateKey: keyB, Device: sink, Transport: network.Listen(outsideB), Peers: []Peer{
		{PublicKey: keyA.Public(), AllowedIPs: allowed(insideA)}}})
	if err != nil {
		b.Fatal(err)
	}
	ended := make(chan error, 2)
	go func() { ended <- ea.Run(ctx) }()
	go func() { ended <- eb.Run(ctx) }()
	if err := ea.Ready(ctx); err != nil {
		b.Fatal(err)
	}
	batch := packet.NewBatch(Room(1420))
	pkt := toB(1420)
	b.SetBytes(40 * 1420)
	for b.Loop() {
		batch.Reset()
		for range 40 {
			copy(batch.Append(1420), pkt)
		}
		ea.Outbound(batch)
		for got := 0; got < 40; got += <-sink.want {
		}
	}
	cancel()
	<-ended
	<-ended
}

// sinkDevice counts what is written.
type sinkDevice struct {
	want chan int
	done chan struct{}
}

func (s *sinkDevice) Read(*packet.Batch) error { <-s.done; return net.ErrClosed }
func (s *sinkDevice) MTU() int                 { return 1420 }
func (s *sinkDevice) Close() error             { close(s.done); return nil }
func (s *sinkDevice) Write(b *packet.Batch) error {
	n := 0
	for i := range b.Len() {
		if len(b.Packet(i)) > 0 {
			n++
		}
	}
	s.want <- n
	return nil
}
