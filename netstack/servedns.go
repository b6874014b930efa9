package netstack

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

const (
	// maxQueries is how many questions of the program are on their way at
	// once. What comes on top waits in the socket, and is asked again.
	maxQueries = 256

	// maxDNSConns is how many TCP connections are served at once.
	maxDNSConns = 64

	// dnsIdle is how long such a connection may be silent (RFC 7766 §6.2.3).
	dnsIdle = 10 * time.Second

	// acceptPause is the time between attempts to accept a connection while
	// the process has no descriptor or the kernel no memory for it.
	acceptPause = 100 * time.Millisecond

	// dnsPatience is how long a question is asked for the program, which has
	// asked again or gone by then.
	dnsPatience = 15 * time.Second
)

// ServeDNS forwards raw DNS messages that arrive on sockets of the program's
// namespace, at addresses such as 127.0.0.53, to the tunnel's nameservers and
// brings back their answers. Of udp and tcp one may be nil. It returns nil when
// ctx ends, else the error that ended one of the sockets; both are closed then.
// What is not DNS is ignored, what cannot be answered is SERVFAIL.
func (s *Stack) ServeDNS(ctx context.Context, udp net.PacketConn, tcp net.Listener) error {
	return serveDNS(ctx, udp, tcp, s.resolver.forward)
}

// ForwardDNS is [Stack.ServeDNS] with other servers: messages that arrive on
// the sockets, which may be those of a Gateway, are forwarded to them over
// connections that dial makes.
func ForwardDNS(ctx context.Context, udp net.PacketConn, tcp net.Listener, servers []netip.AddrPort,
	dial func(ctx context.Context, network, address string) (net.Conn, error)) error {
	ns := nameserversOver(servers, dial)
	return serveDNS(ctx, udp, tcp, ns.forward)
}

// forward is the answerer that asks the servers. A datagram that was cut is
// passed on as it is: who wants all of it asks by TCP.
func (ns *nameservers) forward(ctx context.Context, q question, stream bool) ([]byte, error) {
	msg, _, err := ns.exchange(ctx, q, stream, false)
	return msg, err
}

// An answerer returns the raw answer to a question; stream says that it may be
// longer than a datagram.
type answerer func(ctx context.Context, q question, stream bool) ([]byte, error)

func serveDNS(ctx context.Context, udp net.PacketConn, tcp net.Listener, answer answerer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	errs := make(chan error, 2)
	serve := func(c io.Closer, loop func() error) {
		context.AfterFunc(ctx, func() { c.Close() })
		wg.Go(func() {
			errs <- loop()
			cancel()
		})
	}
	if udp != nil {
		serve(udp, func() error { return serveDatagrams(ctx, udp, answer) })
	}
	if tcp != nil {
		serve(tcp, func() error { return serveStreams(ctx, tcp, answer) })
	}
	if udp == nil && tcp == nil {
		return errors.New("serve DNS: no socket")
	}
	<-ctx.Done()
	wg.Wait()
	// The first error is the reason; when ctx has ended it is only "closed".
	if err := <-errs; !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

func serveDatagrams(ctx context.Context, c net.PacketConn, answer answerer) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	slots := make(chan struct{}, maxQueries) // taken by reading, given back by answering
	buf := make([]byte, maxMessage)
	for {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return net.ErrClosed
		}
		n, from, err := c.ReadFrom(buf)
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return net.ErrClosed
			}
			if errors.Is(err, syscall.ECONNREFUSED) { // about an earlier answer
				<-slots
				continue
			}
			return err
		}
		msg := append([]byte(nil), buf[:n]...)
		wg.Go(func() {
			defer func() { <-slots }()
			if reply := answerMessage(ctx, msg, false, answer); reply != nil {
				c.WriteTo(reply, from)
			}
		})
	}
}

func serveStreams(ctx context.Context, l net.Listener, answer answerer) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	slots := make(chan struct{}, maxDNSConns)
	for {
		c, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return net.ErrClosed
			}
			if !isShortage(err) {
				return err
			}
			select { // until somebody closes something
			case <-time.After(acceptPause):
			case <-ctx.Done():
			}
			continue
		}
		select {
		case slots <- struct{}{}:
		default: // more than any resolver opens
			c.Close()
			continue
		}
		wg.Go(func() {
			defer func() { <-slots }()
			serveStream(ctx, c, answer)
		})
	}
}

// serveStream answers the questions of one connection, one after the other.
func serveStream(ctx context.Context, c net.Conn, answer answerer) {
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	for {
		c.SetDeadline(time.Now().Add(dnsIdle))
		msg, err := readMessage(c)
		if err != nil {
			return
		}
		c.SetDeadline(time.Time{})
		reply := answerMessage(ctx, msg, true, answer)
		if reply == nil {
			return
		}
		c.SetDeadline(time.Now().Add(dnsIdle))
		if writeMessage(c, reply) != nil {
			return
		}
	}
}

// answerMessage returns the answer to a raw message; nil if it gets none.
func answerMessage(ctx context.Context, msg []byte, stream bool, answer answerer) []byte {
	if len(msg) < dnsHeaderLen || msg[2]&0x80 != 0 {
		return nil // not DNS, or an answer: two forwarders must not talk for ever
	}
	q, err := parseQuestion(msg)
	if err != nil {
		return complaint(msg, dnsmessage.RCodeFormatError)
	}
	ctx, cancel := context.WithTimeout(ctx, dnsPatience)
	defer cancel()
	reply, err := answer(ctx, q, stream)
	if err != nil {
		return complaint(msg, dnsmessage.RCodeServerFailure)
	}
	return reply
}

// complaint returns the answer to msg, which has a whole header, that says
// nothing but why there is none. The question is repeated if it can be read.
func complaint(msg []byte, code dnsmessage.RCode) []byte {
	id := binary.BigEndian.Uint16(msg)
	m := dnsmessage.Message{Header: dnsmessage.Header{
		ID:                 id,
		Response:           true,
		OpCode:             dnsmessage.OpCode(msg[2] >> 3 & 0xf),
		RecursionDesired:   msg[2]&1 != 0,
		RecursionAvailable: true,
		RCode:              code,
	}}
	if q, err := parseQuestion(msg); err == nil {
		m.Questions = []dnsmessage.Question{q.ask}
	}
	reply, err := m.Pack()
	if err != nil {
		return nil
	}
	return reply
}

// isShortage reports whether an error of accept(2) is about a lack that passes,
// or about a connection that has gone, and not about the listener.
func isShortage(err error) bool {
	for _, errno := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}
