package netstack

import (
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"adit/packet"
)

var testRoom = packet.Room{Head: 16, Tail: 16, Align: 16, MTU: 1420}

// A pipe is one end of a wire in memory: a packet.Device whose Read gives what
// feed was given, and whose Write is collected.
type pipe struct {
	in     chan []byte
	out    chan []byte
	closed chan struct{}
	once   sync.Once
}

func newPipe() *pipe {
	return &pipe{in: make(chan []byte, 1024), out: make(chan []byte, 1024), closed: make(chan struct{})}
}

func (p *pipe) Read(b *packet.Batch) error {
	b.Reset()
	select {
	case pkt := <-p.in:
		copy(b.Append(len(pkt)), pkt)
	case <-p.closed:
		return net.ErrClosed
	}
	for {
		select {
		case pkt := <-p.in:
			copy(b.Append(len(pkt)), pkt)
		default:
			return nil
		}
	}
}

func (p *pipe) Write(b *packet.Batch) error {
	for i := range b.Len() {
		if pkt := b.Packet(i); len(pkt) > 0 {
			p.out <- slices.Clone(pkt)
		}
	}
	return nil
}

func (p *pipe) MTU() int     { return 1420 }
func (p *pipe) Close() error { p.once.Do(func() { close(p.closed) }); return nil }

// wantOut waits for the next packet that was written to the pipe.
func (p *pipe) wantOut(t *testing.T, what string) []byte {
	t.Helper()
	select {
	case pkt := <-p.out:
		return pkt
	case <-time.After(10 * time.Second):
		t.Fatalf("%s: no packet came", what)
		return nil
	}
}

// batchOf returns a batch of packets.
func batchOf(pkts ...[]byte) *packet.Batch {
	b := packet.NewBatch(testRoom)
	for _, pkt := range pkts {
		copy(b.Append(len(pkt)), pkt)
	}
	return b
}

func mustPrefixes(list ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

// newTestStack returns a Stack that ends with the test.
func newTestStack(t testing.TB, cfg Config) *Stack {
	t.Helper()
	cfg.Room = testRoom
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}
