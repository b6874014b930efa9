package preload

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// resolver is res_query(3), res_search(3) and res_send(3).
func (s *Server) resolver(ctx context.Context, q question) answer {
	if s.dns == nil {
		return answer{err: tryAgain}
	}
	room := max(q.arg[3], 0)
	if q.op == opResSend {
		return shorten(s.dns.ask(ctx, q.data), room)
	}
	text, _, err := cutOptionalText(q.data)
	if err != nil || text == nil {
		return answer{err: noRecovery}
	}
	names := []string{*text}
	if q.op == opResSearch {
		names = s.candidates(*text)
	}
	a := answer{err: hostNotFound}
	for _, name := range names {
		msg, err := newQuery(name, dnsmessage.Class(q.arg[0]), dnsmessage.Type(q.arg[1]))
		if err != nil {
			a = answer{err: noRecovery}
			continue
		}
		a = shorten(s.dns.ask(ctx, msg), room)
		if a.err = verdict(a); a.err == 0 || a.err == tryAgain {
			break
		}
	}
	return a
}

// candidates returns the names to ask for, as resolv.conf(5) says with ndots 1.
func (s *Server) candidates(name string) (list []string) {
	if strings.HasSuffix(name, ".") {
		return []string{name}
	}
	for _, domain := range s.cfg.Search {
		list = append(list, name+"."+strings.Trim(domain, "."))
	}
	if strings.Contains(name, ".") {
		return slices.Insert(list, 0, name)
	}
	return append(list, name)
}

// shorten cuts an answer where the program's room ends, and says its length.
func shorten(msg []byte, room int32) answer {
	if msg == nil {
		return answer{err: tryAgain}
	}
	return answer{value: int32(len(msg)), data: msg[:min(len(msg), int(room))]}
}

// verdict returns the h_errno of a whole answer.
func verdict(a answer) int32 {
	if a.err != 0 || len(a.data) < 12 {
		return tryAgain
	}
	switch rcode := dnsmessage.RCode(a.data[3] & 15); {
	case rcode == dnsmessage.RCodeNameError:
		return hostNotFound
	case rcode == dnsmessage.RCodeServerFailure:
		return tryAgain
	case rcode != dnsmessage.RCodeSuccess:
		return noRecovery
	case binary.BigEndian.Uint16(a.data[6:]) == 0: // answers
		return noData
	}
	return 0
}

func newQuery(name string, class dnsmessage.Class, kind dnsmessage.Type) ([]byte, error) {
	n, err := dnsmessage.NewName(strings.TrimSuffix(name, ".") + ".")
	if err != nil {
		return nil, err
	}
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: uint16(rand.Uint32()), RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: n, Type: kind, Class: class}},
	}
	return m.Pack()
}

// An exchanger carries DNS messages to a function that serves a socket, and back,
// without a socket. It has one goroutine, that function, which ends by Close.
type exchanger struct {
	queries chan datagram // taken by ReadFrom
	closed  chan struct{}
	close   func()

	mu      sync.Mutex
	waiting map[uint64]chan []byte // by the port of who asks
	next    uint64
}

type datagram struct {
	msg  []byte
	from asker
}

// An asker stands for an address.
type asker uint64

func (a asker) Network() string { return "preload" }
func (a asker) String() string  { return strconv.FormatUint(uint64(a), 10) }

func newExchanger(serve func(udp net.PacketConn, tcp net.Listener)) *exchanger {
	x := &exchanger{queries: make(chan datagram), closed: make(chan struct{}), waiting: make(map[uint64]chan []byte)}
	x.close = sync.OnceFunc(func() { close(x.closed) })
	go serve(exchangerConn{x}, nil)
	return x
}

func (x *exchanger) Close() { x.close() }

// ask returns the answer to a message, nil if there is none.
func (x *exchanger) ask(ctx context.Context, msg []byte) []byte {
	c := make(chan []byte, 1) // for the one answer, which nobody may be waiting for
	x.mu.Lock()
	x.next++
	id := x.next
	x.waiting[id] = c
	x.mu.Unlock()
	defer func() {
		x.mu.Lock()
		delete(x.waiting, id)
		x.mu.Unlock()
	}()
	select {
	case x.queries <- datagram{msg, asker(id)}:
	case <-ctx.Done():
		return nil
	case <-x.closed:
		return nil
	}
	select {
	case answer := <-c:
		return answer
	case <-ctx.Done():
	case <-x.closed:
	}
	return nil
}

// pointer returns the name of an address: RFC 1035 §3.5, RFC 3596 §2.5.
func (x *exchanger) pointer(ctx context.Context, addr netip.Addr) (string, bool) {
	query, err := newQuery(reverseName(addr.Unmap().WithZone("")), dnsmessage.ClassINET, dnsmessage.TypePTR)
	if err != nil {
		return "", false
	}
	var m dnsmessage.Message
	if m.Unpack(x.ask(ctx, query)) != nil {
		return "", false
	}
	for _, r := range m.Answers {
		if p, ok := r.Body.(*dnsmessage.PTRResource); ok {
			return strings.TrimSuffix(p.PTR.String(), "."), true
		}
	}
	return "", false
}

func reverseName(addr netip.Addr) string {
	var b strings.Builder
	bytes := addr.AsSlice()
	slices.Reverse(bytes)
	for _, c := range bytes {
		if addr.Is4() {
			b.WriteString(strconv.Itoa(int(c)) + ".")
		} else {
			b.WriteString(strconv.FormatUint(uint64(c&15), 16) + "." + strconv.FormatUint(uint64(c>>4), 16) + ".")
		}
	}
	if addr.Is4() {
		return b.String() + "in-addr.arpa"
	}
	return b.String() + "ip6.arpa"
}

// An exchangerConn is the side of an exchanger that is served.
type exchangerConn struct{ x *exchanger }

func (c exchangerConn) ReadFrom(b []byte) (int, net.Addr, error) {
	select {
	case d := <-c.x.queries:
		return copy(b, d.msg), d.from, nil
	case <-c.x.closed:
		return 0, nil, net.ErrClosed
	}
}

func (c exchangerConn) WriteTo(b []byte, to net.Addr) (int, error) {
	id, _ := to.(asker)
	c.x.mu.Lock()
	defer c.x.mu.Unlock()
	if w := c.x.waiting[uint64(id)]; w != nil {
		delete(c.x.waiting, uint64(id)) // one answer each
		w <- append([]byte(nil), b...)
	}
	return len(b), nil
}

func (c exchangerConn) Close() error                     { c.x.Close(); return nil }
func (c exchangerConn) LocalAddr() net.Addr              { return asker(0) }
func (c exchangerConn) SetDeadline(time.Time) error      { return nil }
func (c exchangerConn) SetReadDeadline(time.Time) error  { return nil }
func (c exchangerConn) SetWriteDeadline(time.Time) error { return nil }
