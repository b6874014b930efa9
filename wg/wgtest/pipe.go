package wgtest

import (
	"context"
	"net"
	"sync"

	"adit/packet"
)

// A Pipe is a packet.Device whose other end is the test: Send is what Read
// gives, Receive is what Write got. It is safe for concurrent use.
type Pipe struct {
	mtu  int
	in   chan []byte // Send → Read. Never closed
	out  chan []byte // Write → Receive. Never closed; what does not fit is lost
	done chan struct{}
	once sync.Once
}

// NewPipe returns a Pipe for packets of up to mtu bytes.
func NewPipe(mtu int) *Pipe {
	return &Pipe{mtu: mtu, in: make(chan []byte, 256), out: make(chan []byte, 8192), done: make(chan struct{})}
}

// Send makes pkt come out of Read. It waits while 256 packets are unread, and
// reports false after Close.
func (p *Pipe) Send(pkt []byte) bool {
	if p.closed() {
		return false
	}
	select {
	case p.in <- append([]byte(nil), pkt...):
		return true
	case <-p.done:
		return false
	}
}

// Receive waits for a packet that was written. It returns nil when ctx ends or
// the Pipe is closed.
func (p *Pipe) Receive(ctx context.Context) []byte {
	select {
	case pkt := <-p.out:
		return pkt
	case <-ctx.Done():
	case <-p.done:
	}
	return nil
}

// Read implements packet.Device.
func (p *Pipe) Read(b *packet.Batch) error {
	b.Reset()
	if p.closed() {
		return net.ErrClosed
	}
	select {
	case pkt := <-p.in:
		copy(b.Append(len(pkt)), pkt)
	case <-p.done:
		return net.ErrClosed
	}
	for range packet.MaxPackets/2 - 1 { // half a batch of full-sized packets always fits
		select {
		case pkt := <-p.in:
			copy(b.Append(len(pkt)), pkt)
		default:
			return nil
		}
	}
	return nil
}

// Write implements packet.Device.
func (p *Pipe) Write(b *packet.Batch) error {
	if p.closed() {
		return net.ErrClosed
	}
	for i := range b.Len() {
		if pkt := b.Packet(i); len(pkt) > 0 {
			select {
			case p.out <- append([]byte(nil), pkt...):
			case <-p.done:
				return net.ErrClosed
			default:
			}
		}
	}
	return nil
}

func (p *Pipe) closed() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// MTU implements packet.Device.
func (p *Pipe) MTU() int { return p.mtu }

// Close implements packet.Device.
func (p *Pipe) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}
