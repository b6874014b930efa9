package netstack

import (
	"bytes"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// An endpoint is what streams, datagram sockets and listeners have in common:
// a socket of gVisor, its two wake-ups and its two deadlines.
type endpoint struct {
	ep      tcpip.Endpoint
	wq      *waiter.Queue
	network string // as package net spells it: "tcp", "udp4"

	// readable and writable hold at most one wake-up each: a state has changed,
	// try again. gVisor sends (without blocking), the one reader or writer
	// receives. They are never closed.
	readable, writable   chan struct{}
	readEntry, writEntry waiter.Entry

	readMu, writeMu sync.Mutex // one reader, one writer; before the deadlines' mu
	readBy, writeBy deadline

	// What gVisor reads into and writes from, under readMu and writeMu: it takes
	// them as interfaces, and a variable of the call would be an allocation each.
	into tcpip.SliceWriter
	from bytes.Reader

	finished atomic.Bool // CloseWrite has been called

	closeOnce sync.Once
	closed    chan struct{} // closed by close
}

// newEndpoint wraps ep, whose queue is wq.
func newEndpoint(network string, ep tcpip.Endpoint, wq *waiter.Queue) *endpoint {
	e := &endpoint{ep: ep, wq: wq, network: network, closed: make(chan struct{})}
	e.readEntry, e.readable = waiter.NewChannelEntry(waiter.ReadableEvents | waiter.EventHUp | waiter.EventErr)
	e.writEntry, e.writable = waiter.NewChannelEntry(waiter.WritableEvents | waiter.EventHUp | waiter.EventErr)
	wq.EventRegister(&e.readEntry)
	wq.EventRegister(&e.writEntry)
	return e
}

// socket makes a new endpoint of gVisor's.
func (s *Stack) socket(network string, transport tcpip.TransportProtocolNumber, protocol tcpip.NetworkProtocolNumber) (*endpoint, error) {
	select {
	case <-s.stopped:
		return nil, net.ErrClosed
	default:
	}
	wq := new(waiter.Queue)
	ep, err := s.net.NewEndpoint(transport, protocol, wq)
	if err != nil {
		return nil, sysError("socket", err)
	}
	return newEndpoint(network, ep, wq), nil
}

// readInto has gVisor fill b. e.readMu must be held.
func (e *endpoint) readInto(b []byte, o tcpip.ReadOptions) (tcpip.ReadResult, tcpip.Error) {
	e.into = b
	res, err := e.ep.Read(&e.into, o)
	e.into = nil
	return res, err
}

// writeFrom has gVisor take what it can of b. e.writeMu must be held.
func (e *endpoint) writeFrom(b []byte, o tcpip.WriteOptions) (int64, tcpip.Error) {
	e.from.Reset(b)
	n, err := e.ep.Write(&e.from, o)
	e.from.Reset(nil)
	return n, err
}

// wait returns nil when there is something to try again, and why not otherwise.
func (e *endpoint) wait(event <-chan struct{}, by <-chan struct{}) error {
	select {
	case <-by: // first, so that a past deadline wins over data that is there
		return os.ErrDeadlineExceeded
	default:
	}
	select {
	case <-event:
		return nil
	case <-by:
		return os.ErrDeadlineExceeded
	case <-e.closed:
		return net.ErrClosed
	}
}

// check returns why no call may be tried: the endpoint is closed, or the time
// is over.
func (e *endpoint) check(by <-chan struct{}) error {
	if isClosed(e.closed) {
		return net.ErrClosed
	}
	if isClosed(by) {
		return os.ErrDeadlineExceeded
	}
	return nil
}

// close closes the endpoint once, and reports whether it was this call.
func (e *endpoint) close() (first bool) {
	e.closeOnce.Do(func() {
		first = true
		close(e.closed)
		e.wq.EventUnregister(&e.readEntry)
		e.wq.EventUnregister(&e.writEntry)
		e.ep.Close()
		e.readBy.set(time.Time{})
		e.writeBy.set(time.Time{})
	})
	return first
}

func (e *endpoint) SetDeadline(t time.Time) error {
	e.SetReadDeadline(t)
	return e.SetWriteDeadline(t)
}

func (e *endpoint) SetReadDeadline(t time.Time) error {
	if isClosed(e.closed) {
		return opError("set", e.network, nil, e.LocalAddr(), net.ErrClosed)
	}
	e.readBy.set(t)
	return nil
}

func (e *endpoint) SetWriteDeadline(t time.Time) error {
	if isClosed(e.closed) {
		return opError("set", e.network, nil, e.LocalAddr(), net.ErrClosed)
	}
	e.writeBy.set(t)
	return nil
}

func (e *endpoint) LocalAddr() net.Addr {
	a, err := e.ep.GetLocalAddress()
	if err != nil {
		return e.addr(tcpip.FullAddress{})
	}
	return e.addr(a)
}

func (e *endpoint) RemoteAddr() net.Addr {
	a, err := e.ep.GetRemoteAddress()
	if err != nil {
		return nil
	}
	return e.addr(a)
}

// addr returns a as an address of the endpoint's network.
func (e *endpoint) addr(a tcpip.FullAddress) net.Addr {
	if e.network[0] == 't' {
		return net.TCPAddrFromAddrPort(fromFull(a))
	}
	return net.UDPAddrFromAddrPort(fromFull(a))
}

const (
	protocolTCP = tcp.ProtocolNumber
	protocolUDP = udp.ProtocolNumber
)
