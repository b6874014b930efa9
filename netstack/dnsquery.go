package netstack

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

const (
	dnsPort      = 53
	dnsHeaderLen = 12
	maxMessage   = 65535 // bytes: the length field of DNS over TCP has two

	// Each server is given a second, then two, then four: the whole list is
	// asked three times before a name is given up.
	dnsFirstTimeout = time.Second
	dnsRounds       = 3
)

// messages are buffers of maxMessage bytes.
var messages = sync.Pool{New: func() any { return new([maxMessage]byte) }}

var (
	errNoNameserver = errors.New("the tunnel has no nameserver (DNS=)")
	errMismatch     = errors.New("the answer does not belong to the question")
)

// A question is a DNS message that asks, and what its answer is known by.
type question struct {
	msg  []byte // the raw message
	id   uint16
	ask  dnsmessage.Question
	name string // ask's, in lower case
}

// parseQuestion reads a raw message that asks one question.
func parseQuestion(msg []byte) (question, error) {
	var p dnsmessage.Parser
	h, err := p.Start(msg)
	if err != nil {
		return question{}, err
	}
	if h.Response {
		return question{}, errors.New("a response, not a question")
	}
	ask, err := p.Question()
	if err != nil {
		return question{}, err
	}
	if n := binary.BigEndian.Uint16(msg[4:]); n != 1 {
		return question{}, fmt.Errorf("%d questions in one message", n)
	}
	return question{msg: msg, id: h.ID, ask: ask, name: strings.ToLower(ask.Name.String())}, nil
}

// newQuestion makes the message that asks for name's records of a type.
func newQuestion(id uint16, name dnsmessage.Name, kind dnsmessage.Type) (question, error) {
	ask := dnsmessage.Question{Name: name, Type: kind, Class: dnsmessage.ClassINET}
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: id, RecursionDesired: true},
		Questions: []dnsmessage.Question{ask},
	}
	msg, err := m.Pack()
	if err != nil {
		return question{}, err
	}
	return question{msg: msg, id: id, ask: ask, name: strings.ToLower(name.String())}, nil
}

// check returns the header of msg if it answers q, RFC 5452 §9.1. Servers that
// cannot read a message may leave the question out of their complaint.
func (q *question) check(msg []byte) (dnsmessage.Header, error) {
	var p dnsmessage.Parser
	h, err := p.Start(msg)
	if err != nil {
		return h, err
	}
	if !h.Response || h.ID != q.id {
		return h, errMismatch
	}
	ask, err := p.Question()
	if err == dnsmessage.ErrSectionDone && h.RCode != dnsmessage.RCodeSuccess {
		return h, nil
	}
	if err != nil {
		return h, err
	}
	if ask.Type != q.ask.Type || ask.Class != q.ask.Class || strings.ToLower(ask.Name.String()) != q.name {
		return h, errMismatch
	}
	return h, nil
}

// nameservers are asked one after the other, over connections that dial makes.
type nameservers struct {
	list []netip.AddrPort
	dial func(ctx context.Context, network string, server netip.AddrPort) (net.Conn, error)
}

// nameserversOver returns servers that are asked over connections that dial makes.
func nameserversOver(servers []netip.AddrPort, dial func(ctx context.Context, network, address string) (net.Conn, error)) nameservers {
	return nameservers{list: servers, dial: func(ctx context.Context, network string, server netip.AddrPort) (net.Conn, error) {
		return dial(ctx, network, server.String())
	}}
}

// exchange asks the servers in turn until one of them answers, over TCP from
// the start if stream is set, and when an answer was cut if complete is set. It
// returns the raw answer and its header.
func (ns *nameservers) exchange(ctx context.Context, q question, stream, complete bool) ([]byte, dnsmessage.Header, error) {
	if len(ns.list) == 0 {
		return nil, dnsmessage.Header{}, errNoNameserver
	}
	var (
		refusal  []byte // a server's complaint, better than no answer
		refusalH dnsmessage.Header
		last     error
	)
	timeout := dnsFirstTimeout
	for range dnsRounds {
		for _, server := range ns.list {
			msg, h, err := ns.exchangeWith(ctx, server, q, stream, complete, timeout)
			switch {
			case ctx.Err() != nil:
				return nil, h, contextError(ctx)
			case err != nil:
				last = fmt.Errorf("nameserver %v: %w", server, err)
			case h.RCode == dnsmessage.RCodeSuccess, h.RCode == dnsmessage.RCodeNameError:
				return msg, h, nil
			default: // SERVFAIL, REFUSED …: another one may know better
				refusal, refusalH = msg, h
			}
		}
		if refusal != nil {
			return refusal, refusalH, nil
		}
		timeout *= 2
	}
	return nil, dnsmessage.Header{}, last
}

// exchangeWith asks one server.
func (ns *nameservers) exchangeWith(ctx context.Context, server netip.AddrPort, q question, stream, complete bool, timeout time.Duration) ([]byte, dnsmessage.Header, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if !stream {
		msg, h, err := ns.exchangeUDP(ctx, server, q)
		if err != nil || !complete || !h.Truncated {
			return msg, h, err
		}
	}
	return ns.exchangeTCP(ctx, server, q)
}

func (ns *nameservers) exchangeUDP(ctx context.Context, server netip.AddrPort, q question) ([]byte, dnsmessage.Header, error) {
	c, err := ns.dial(ctx, "udp", server)
	if err != nil {
		return nil, dnsmessage.Header{}, err
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.SetDeadline(past) })()
	if _, err := c.Write(q.msg); err != nil {
		return nil, dnsmessage.Header{}, err
	}
	buf := messages.Get().(*[maxMessage]byte)
	defer messages.Put(buf)
	for {
		n, err := c.Read(buf[:])
		if err != nil {
			return nil, dnsmessage.Header{}, err
		}
		// What is no answer to this question may be a late one to another, or a
		// forgery: go on waiting.
		if h, err := q.check(buf[:n]); err == nil {
			return append([]byte(nil), buf[:n]...), h, nil
		}
	}
}

func (ns *nameservers) exchangeTCP(ctx context.Context, server netip.AddrPort, q question) ([]byte, dnsmessage.Header, error) {
	c, err := ns.dial(ctx, "tcp", server)
	if err != nil {
		return nil, dnsmessage.Header{}, err
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.SetDeadline(past) })()
	if err := writeMessage(c, q.msg); err != nil {
		return nil, dnsmessage.Header{}, err
	}
	msg, err := readMessage(c)
	if err != nil {
		return nil, dnsmessage.Header{}, err
	}
	h, err := q.check(msg)
	return msg, h, err
}

// past is a deadline that makes waiting calls return.
var past = time.Unix(1, 0)

// writeMessage writes a message with its length before it, RFC 1035 §4.2.2, in
// one write.
func writeMessage(w io.Writer, msg []byte) error {
	b := binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(msg)), uint16(len(msg)))
	_, err := w.Write(append(b, msg...))
	return err
}

func readMessage(r io.Reader) ([]byte, error) {
	var length [2]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return nil, err
	}
	msg := make([]byte, binary.BigEndian.Uint16(length[:]))
	_, err := io.ReadFull(r, msg)
	return msg, err
}
