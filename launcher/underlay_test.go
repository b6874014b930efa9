package launcher

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"adit/netstack"
	"adit/packet"
	"adit/wg"
)

// newTestCarrier returns a carrier that is a stack and nothing else, which
// reaches all of 10.9.0.0/24 and fd09::/64.
func newTestCarrier(t *testing.T, addresses ...string) *carrier {
	t.Helper()
	stack, err := netstack.New(netstack.Config{
		Addresses: prefixes(addresses...), Routes: prefixes("10.9.0.0/24", "fd09::/64"),
		MTU: 1420, Expose: netstack.Exposed{All: true}, Room: wg.Room(1420),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stack.Close() })
	return &carrier{mtu: 1420, stack: stack}
}

// join carries what one stack sends to the other, as a tunnel between them
// would.
func join(t *testing.T, from, to *netstack.Stack) {
	wire := make(chan []byte, 256) // of SetUpstream's func; never closed
	done := make(chan struct{})
	from.SetUpstream(func(b *packet.Batch) {
		for i := range b.Len() {
			select {
			case wire <- slices.Clone(b.Packet(i)):
			case <-done:
			}
		}
	})
	var carrying sync.WaitGroup
	carrying.Go(func() {
		b := packet.NewBatch(wg.Room(1420))
		for {
			select {
			case pkt := <-wire:
				b.Reset()
				copy(b.Append(len(pkt)), pkt)
				to.Device().Write(b)
			case <-done:
				return
			}
		}
	})
	t.Cleanup(func() { close(done); carrying.Wait() })
}

// listenNested opens the transport of a tunnel inside c and returns its port.
func listenNested(t *testing.T, c *carrier) (wg.Transport, uint16) {
	t.Helper()
	transport, err := over(c).listen()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { transport.Close() })
	return transport, uint16(transport.(*nested).pc.LocalAddr().(*net.UDPAddr).Port)
}

// wantRead reads one datagram, and returns the way back.
func wantRead(t *testing.T, transport wg.Transport, want string) *packet.Path {
	t.Helper()
	b := packet.NewBatch(packet.Room{})
	var err error
	wantSoon(t, "a datagram comes", soon(func() { err = transport.Read(b) }))
	if err != nil {
		t.Fatal(err)
	}
	if b.Len() != 1 || string(b.Packet(0)) != want {
		t.Fatalf("%d datagrams came, the first of %d bytes, want one of %d", b.Len(), len(b.Packet(0)), len(want))
	}
	return b.Path(0)
}

func write(t *testing.T, transport wg.Transport, way *packet.Path, datagrams ...string) {
	t.Helper()
	b := packet.NewBatch(packet.Room{})
	for i, d := range datagrams {
		copy(b.Append(len(d)), d)
		b.SetPath(i, way)
	}
	if err := transport.Write(b); err != nil {
		t.Fatal(err)
	}
}

func TestDatagramsOfATunnelCrossTheTunnelAroundIt(t *testing.T) {
	a := newTestCarrier(t, "10.9.0.1/32", "fd09::1/128")
	b := newTestCarrier(t, "10.9.0.2/32", "fd09::2/128")
	join(t, a.stack, b.stack)
	join(t, b.stack, a.stack)
	near, nearPort := listenNested(t, a)
	far, farPort := listenNested(t, b)
	long := strings.Repeat("x", 3000) // more than the MTU: the stack's fragments
	for _, c := range []struct{ from, to string }{{"10.9.0.1", "10.9.0.2"}, {"fd09::1", "fd09::2"}} {
		remote := netip.AddrPortFrom(netip.MustParseAddr(c.to), farPort)
		write(t, near, &packet.Path{Remote: remote}, "one", long, "two")
		wantRead(t, far, "one")
		wantRead(t, far, long)
		back := wantRead(t, far, "two")
		if want := netip.AddrPortFrom(netip.MustParseAddr(c.from), nearPort); back.Remote != want {
			t.Errorf("the way back is %v, want %v", back.Remote, want)
		}
		write(t, far, back, "answer")
		if way := wantRead(t, near, "answer"); way.Remote != remote {
			t.Errorf("the answer is from %v, want %v", way.Remote, remote)
		}
	}
}

func TestDroppedDatagramsAndThoseWithoutAWayAreLeftOut(t *testing.T) {
	a, b := newTestCarrier(t, "10.9.0.1/32"), newTestCarrier(t, "10.9.0.2/32")
	join(t, a.stack, b.stack)
	near, _ := listenNested(t, a)
	far, port := listenNested(t, b)
	batch := packet.NewBatch(packet.Room{})
	for i, d := range []string{"dropped", "lost", "sent"} {
		copy(batch.Append(len(d)), d)
		if d != "lost" {
			batch.SetPath(i, &packet.Path{Remote: netip.AddrPortFrom(netip.MustParseAddr("10.9.0.2"), port)})
		}
	}
	batch.Drop(0)
	if err := near.Write(batch); err != nil {
		t.Fatal(err)
	}
	wantRead(t, far, "sent")
}

func TestCloseEndsAReadOfANestedTransport(t *testing.T) {
	transport, _ := listenNested(t, newTestCarrier(t, "10.9.0.1/32"))
	var err error
	ended := soon(func() { err = transport.Read(packet.NewBatch(packet.Room{})) })
	transport.Close()
	wantSoon(t, "the read is over", ended)
	if !errors.Is(err, net.ErrClosed) {
		t.Errorf("Read ends with %v, want %v", err, net.ErrClosed)
	}
	if err := transport.Close(); err != nil {
		t.Errorf("closing again: %v", err)
	}
	b := packet.NewBatch(packet.Room{})
	copy(b.Append(1), "x")
	b.SetPath(0, &packet.Path{Remote: netip.MustParseAddrPort("10.9.0.2:1")})
	if err := transport.Write(b); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Write after Close: got %v, want %v", err, net.ErrClosed)
	}
}

// The peer of an inner tunnel that is not there answers "port unreachable"; the
// next one may be.
func TestRefusedDatagramDoesNotEndATransport(t *testing.T) {
	a, b := newTestCarrier(t, "10.9.0.1/32"), newTestCarrier(t, "10.9.0.2/32")
	join(t, a.stack, b.stack)
	join(t, b.stack, a.stack)
	near, nearPort := listenNested(t, a)
	write(t, near, &packet.Path{Remote: netip.MustParseAddrPort("10.9.0.2:9")}, "to nobody")
	far, _ := listenNested(t, b)
	write(t, far, &packet.Path{Remote: netip.AddrPortFrom(netip.MustParseAddr("10.9.0.1"), nearPort)}, "here")
	batch := packet.NewBatch(packet.Room{})
	var err error
	wantSoon(t, "a datagram comes", soon(func() {
		for err = near.Read(batch); err == nil && batch.Len() == 0; {
			err = near.Read(batch)
		}
	}))
	if err != nil || string(batch.Packet(0)) != "here" {
		t.Errorf("got %q, %v; want the datagram", batch.Packet(0), err)
	}
}

func TestRoomInsideACarrierIsItsMTULessTheHeaders(t *testing.T) {
	under := over(&carrier{mtu: 1420})
	for remote, want := range map[string]int{"192.0.2.1:1": 1360, "[2001:db8::1]:1": 1340} {
		if got := under.room(netip.MustParseAddrPort(remote)); got != want {
			t.Errorf("to %s: %d bytes, want %d", remote, got, want)
		}
	}
	if got, err := under.resolve(t.Context(), "2001:db8::1"); err != nil || len(got) != 1 {
		t.Errorf("a literal address: %v, %v", got, err)
	}
}
