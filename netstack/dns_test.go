package netstack

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// A zone is what a fake nameserver knows: "name. TYPE" to values. The value of
// CNAME is a name, of A and AAAA an address, of CODE a number.
type zone map[string][]string

// answer builds the reply to a raw question; cut says that it shall be truncated.
func (z zone) answer(msg []byte, cut bool) []byte {
	q, err := parseQuestion(msg)
	if err != nil {
		return nil
	}
	reply := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: q.id, Response: true, RecursionAvailable: true},
		Questions: []dnsmessage.Question{q.ask},
	}
	name := q.name
	for range 8 {
		target, ok := z[name+" CNAME"]
		if !ok || strings.HasPrefix(name, "lazy") && name != q.name {
			break
		}
		reply.Answers = append(reply.Answers, dnsmessage.Resource{
			Header: dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName(name), Class: dnsmessage.ClassINET},
			Body:   &dnsmessage.CNAMEResource{CNAME: dnsmessage.MustNewName(target[0])},
		})
		name = target[0]
	}
	kind := strings.TrimPrefix(q.ask.Type.String(), "Type")
	for _, v := range z[name+" "+kind] {
		addr := netip.MustParseAddr(v)
		r := dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName(name), Class: dnsmessage.ClassINET}}
		if addr.Is4() {
			r.Body = &dnsmessage.AResource{A: addr.As4()}
		} else {
			r.Body = &dnsmessage.AAAAResource{AAAA: addr.As16()}
		}
		reply.Answers = append(reply.Answers, r)
	}
	if code, ok := z[name+" CODE"]; ok {
		fmt.Sscan(code[0], &reply.RCode)
	} else if len(reply.Answers) == 0 && z[name+" A"] == nil && z[name+" AAAA"] == nil {
		reply.RCode = dnsmessage.RCodeNameError
	}
	slices.Reverse(reply.Answers) // in no helpful order
	if cut {
		reply.Answers, reply.Truncated = nil, true
	}
	out, err := reply.Pack()
	if err != nil {
		panic(err)
	}
	return out
}

// A nameserver answers on a Stack from a zone.
type nameserver struct {
	zone    zone
	cut     atomic.Bool // answers over UDP are truncated
	mute    atomic.Int32
	forge   atomic.Bool // before each answer come wrong ones
	queries atomic.Int32
	streams atomic.Int32
}

func serveZone(t *testing.T, s *Stack, address string, z zone) *nameserver {
	t.Helper()
	n := &nameserver{zone: z}
	u, err := s.ListenPacket(t.Context(), "udp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { u.Close() })
	go func() {
		b := make([]byte, 4096)
		for {
			k, from, err := u.ReadFrom(b)
			if err != nil {
				return
			}
			n.queries.Add(1)
			if n.mute.Add(-1) >= 0 {
				continue
			}
			reply := n.zone.answer(b[:k], n.cut.Load())
			if n.forge.Load() {
				other := slices.Clone(reply)
				other[0] ^= 0xff // another id
				u.WriteTo(other, from)
				other = slices.Clone(reply)
				other[2] &^= 0x80 // a question
				u.WriteTo(other, from)
				other = slices.Clone(reply)
				other[dnsHeaderLen+1] ^= 1 // another name
				u.WriteTo(other, from)
				u.WriteTo([]byte{1, 2, 3}, from)
			}
			u.WriteTo(reply, from)
		}
	}()
	l := mustListen(t, s, "tcp", address)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				for {
					msg, err := readMessage(c)
					if err != nil {
						return
					}
					n.streams.Add(1)
					writeMessage(c, n.zone.answer(msg, false))
				}
			}()
		}
	}()
	return n
}

// newDNSPair is a pair whose near side asks a nameserver on the far side.
func newDNSPair(t *testing.T, z zone, search ...string) (pair, *nameserver) {
	near := tunnelConfig(nil)
	near.DNS = []netip.Addr{netip.MustParseAddr(far4)}
	near.Search = search
	p := newPair(t, near)
	return p, serveZone(t, p.far, "192.0.2.1:53", z)
}

func wantAddrs(t *testing.T, what string, got []netip.Addr, err error, want ...string) {
	t.Helper()
	var texts []string
	for _, a := range got {
		texts = append(texts, a.String())
	}
	slices.Sort(texts)
	slices.Sort(want)
	if err != nil || !slices.Equal(texts, want) {
		t.Errorf("%s: got %v, %v, want %v", what, texts, err, want)
	}
}

func TestLookup(t *testing.T) {
	p, _ := newDNSPair(t, zone{
		"both.test. A":          {"192.0.2.10", "192.0.2.11"},
		"both.test. AAAA":       {"2001:db8::10"},
		"only4.test. A":         {"192.0.2.12"},
		"alias.test. CNAME":     {"alias2.test."},
		"alias2.test. CNAME":    {"both.test."},
		"lazy.test. CNAME":      {"lazy2.test."},
		"lazy2.test. CNAME":     {"only4.test."},
		"host.corp.test. A":     {"192.0.2.13"},
		"a.b.corp.test. A":      {"192.0.2.14"},
		"loop.test. CNAME":      {"loop2.test."},
		"loop2.test. CNAME":     {"loop.test."},
		"MixedCase.test. A":     nil,
		"mixedcase.test. A":     {"192.0.2.15"},
		"other-domain.test. AA": nil,
	}, "nowhere.test", "corp.test")
	for _, c := range []struct {
		network, host string
		want          []string
	}{
		{"ip", "both.test", []string{"192.0.2.10", "192.0.2.11", "2001:db8::10"}},
		{"ip4", "both.test", []string{"192.0.2.10", "192.0.2.11"}},
		{"ip6", "both.test.", []string{"2001:db8::10"}},
		{"ip", "only4.test", []string{"192.0.2.12"}},
		{"ip4", "alias.test", []string{"192.0.2.10", "192.0.2.11"}},
		{"ip4", "lazy.test", []string{"192.0.2.12"}},
		{"ip", "host", []string{"192.0.2.13"}},
		{"ip", "a.b", []string{"192.0.2.14"}},
		{"ip", "MIXEDCASE.test", []string{"192.0.2.15"}},
		{"ip", "192.0.2.99", []string{"192.0.2.99"}},
		{"ip", "localhost", []string{"127.0.0.1", "::1"}},
	} {
		got, err := p.near.LookupNetIP(t.Context(), c.network, c.host)
		wantAddrs(t, c.network+" "+c.host, got, err, c.want...)
	}
	for _, host := range []string{"nothing.test", "host.", "", ".", "a..b", strings.Repeat("a", 64) + ".test", strings.Repeat("a.", 200)} {
		_, err := p.near.LookupNetIP(t.Context(), "ip", host)
		var dns *net.DNSError
		if !errors.As(err, &dns) || !dns.IsNotFound || dns.Name != host {
			t.Errorf("%q: got %v, want no such host", host, err)
		}
	}
	if _, err := p.near.LookupNetIP(t.Context(), "ip6", "only4.test"); !isNotFound(err) {
		t.Errorf("name without an IPv6 address: got %v, want no such host", err)
	}
	if _, err := p.near.LookupNetIP(t.Context(), "ip4", "loop.test"); err == nil {
		t.Error("a loop of aliases has an address")
	}
}

func isNotFound(err error) bool {
	var dns *net.DNSError
	return errors.As(err, &dns) && dns.IsNotFound
}

func TestDialByName(t *testing.T) {
	p, _ := newDNSPair(t, zone{
		"www.test. A":    {"192.0.2.1"},
		"www.test. AAAA": {"2001:db8::1"},
		"dead.test. A":   {"198.51.100.1", "192.0.2.1"},
		"mute.test. A":   {"192.0.2.66", "192.0.2.1"},
	})
	go serveEcho(mustListen(t, p.far, "tcp", ":80"))
	mustDial(t, p.near, "tcp", "www.test:80")
	if c := mustDial(t, p.near, "tcp6", "www.test:80"); c.RemoteAddr().String() != "[2001:db8::1]:80" {
		t.Errorf("tcp6: connected to %v", c.RemoteAddr())
	}
	if c := mustDial(t, p.near, "tcp", "dead.test:80"); c.RemoteAddr().String() != "192.0.2.1:80" {
		t.Errorf("second address: connected to %v", c.RemoteAddr())
	}
	if c := mustDial(t, p.near, "tcp", "mute.test:80"); c.RemoteAddr().String() != "192.0.2.1:80" {
		t.Errorf("first address silent: connected to %v", c.RemoteAddr())
	}
	if _, err := p.near.DialContext(t.Context(), "tcp", "nothing.test:80"); !isNotFound(err) {
		t.Errorf("unknown name: got %v, want no such host", err)
	}
}

func TestTruncatedAnswerIsFetchedByTCP(t *testing.T) {
	p, n := newDNSPair(t, zone{"big.test. A": {"192.0.2.10"}})
	n.cut.Store(true)
	got, err := p.near.LookupNetIP(t.Context(), "ip4", "big.test")
	wantAddrs(t, "big.test", got, err, "192.0.2.10")
	// Who has waited a second for the answer begins anew with UDP.
	if streams, queries := n.streams.Load(), n.queries.Load(); streams == 0 || streams > queries {
		t.Errorf("%d questions by TCP for %d by UDP, want one for each", streams, queries)
	}
}

func TestForgedAnswersAreIgnored(t *testing.T) {
	p, n := newDNSPair(t, zone{"www.test. A": {"192.0.2.10"}})
	n.forge.Store(true)
	got, err := p.near.LookupNetIP(t.Context(), "ip4", "www.test")
	wantAddrs(t, "www.test", got, err, "192.0.2.10")
}

func TestLostQuestionIsAskedAgain(t *testing.T) {
	p, n := newDNSPair(t, zone{"www.test. A": {"192.0.2.10"}})
	n.mute.Store(1)
	got, err := p.near.LookupNetIP(t.Context(), "ip4", "www.test")
	wantAddrs(t, "www.test", got, err, "192.0.2.10")
}

func TestNextNameserverIsAskedAfterARefusal(t *testing.T) {
	near := tunnelConfig(nil)
	near.DNS = []netip.Addr{netip.MustParseAddr("198.51.100.1"), // not in the tunnel
		netip.MustParseAddr(far6), // nobody listens
		netip.MustParseAddr(far4)}
	p := newPair(t, near)
	serveZone(t, p.far, "192.0.2.1:53", zone{"www.test. A": {"192.0.2.10"}, "bad.test. CODE": {"2"}})
	got, err := p.near.LookupNetIP(t.Context(), "ip4", "www.test")
	wantAddrs(t, "www.test", got, err, "192.0.2.10")
	_, err = p.near.LookupNetIP(t.Context(), "ip4", "bad.test")
	if err == nil || isNotFound(err) || !strings.Contains(err.Error(), "ServerFailure") {
		t.Errorf("SERVFAIL: got %v", err)
	}
}

func TestWithoutNameserverLookupFailsAtOnce(t *testing.T) {
	s := newTestStack(t, tunnelConfig(nil))
	_, err := s.LookupNetIP(t.Context(), "ip", "www.test")
	if !errors.Is(err, errNoNameserver) {
		t.Errorf("got %v, want %v", err, errNoNameserver)
	}
}

// Other servers than the tunnel's are asked over whatever dial makes, and no others.
func TestLookupOfOtherServers(t *testing.T) {
	p, server := newDNSPair(t, zone{"www.test. A": {"192.0.2.10"}})
	other := serveZone(t, p.far, "192.0.2.1:5353", zone{"www.corp.test. A": {"192.0.2.11"}})
	servers := []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:5353")}
	addrs, err := LookupNetIP(t.Context(), "ip4", "www", servers, []string{"corp.test"}, p.near.DialContext)
	wantAddrs(t, "by another server, in another domain", addrs, err, "192.0.2.11")
	if n := server.queries.Load(); n != 0 || other.queries.Load() == 0 {
		t.Errorf("the tunnel's server was asked %d times and the other %d times", n, other.queries.Load())
	}
	if _, err := LookupNetIP(t.Context(), "ip4", "www.test", nil, nil, p.near.DialContext); !errors.Is(err, errNoNameserver) {
		t.Errorf("without a server: got %v, want %v", err, errNoNameserver)
	}
}

// serveLocal starts ServeDNS on the host's loopback and returns its address.
func serveLocal(t *testing.T, s *Stack) string {
	t.Helper()
	u, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", u.LocalAddr().String())
	if err != nil {
		t.Skipf("the port is taken for TCP: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.ServeDNS(ctx, u, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("ServeDNS: %v", err)
		}
	})
	return u.LocalAddr().String()
}

// ask sends msg to a forwarder and returns its answer, nil if none comes.
func ask(t *testing.T, network, address string, msg []byte) []byte {
	t.Helper()
	c, err := net.Dial(network, address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	if network == "tcp" {
		writeMessage(c, msg)
		reply, _ := readMessage(c)
		return reply
	}
	c.Write(msg)
	b := make([]byte, 4096)
	n, err := c.Read(b)
	if err != nil {
		return nil
	}
	return b[:n]
}

func TestServeDNSForwardsRawMessages(t *testing.T) {
	p, n := newDNSPair(t, zone{"www.test. A": {"192.0.2.10"}, "bad.test. CODE": {"5"}})
	address := serveLocal(t, p.near)
	for _, network := range []string{"udp", "tcp"} {
		for _, name := range []string{"www.test.", "bad.test.", "nothing.test."} {
			q, err := newQuestion(0xbeef, dnsmessage.MustNewName(name), dnsmessage.TypeA)
			if err != nil {
				t.Fatal(err)
			}
			want := n.zone.answer(q.msg, false)
			if got := ask(t, network, address, q.msg); !slices.Equal(got, want) {
				t.Errorf("%s %s: got %x, want %x", network, name, got, want)
			}
		}
	}
	n.cut.Store(true)
	q, _ := newQuestion(1, dnsmessage.MustNewName("www.test."), dnsmessage.TypeA)
	if got := ask(t, "udp", address, q.msg); len(got) < 3 || got[2]&2 == 0 {
		t.Errorf("a truncated answer lost its mark: %x", got)
	}
	if got := ask(t, "tcp", address, q.msg); !slices.Equal(got, n.zone.answer(q.msg, false)) {
		t.Errorf("by TCP: got %x", got)
	}
}

func TestServeDNSAnswersFormErrToWhatItCannotRead(t *testing.T) {
	p, _ := newDNSPair(t, zone{})
	address := serveLocal(t, p.near)
	msg := make([]byte, dnsHeaderLen)
	binary.BigEndian.PutUint16(msg, 77)
	binary.BigEndian.PutUint16(msg[4:], 1) // one question, which is not there
	got := ask(t, "udp", address, msg)
	var parser dnsmessage.Parser
	h, err := parser.Start(got)
	if err != nil || h.ID != 77 || !h.Response || h.RCode != dnsmessage.RCodeFormatError {
		t.Errorf("got %+v, %v, want FORMERR", h, err)
	}
}

// TestServeDNSSaysServerFailure uses a fake answerer and fake time.
func TestServeDNSSaysServerFailureWhenNobodyAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, _ := newQuestion(9, dnsmessage.MustNewName("www.test."), dnsmessage.TypeAAAA)
		reply := answerMessage(t.Context(), q.msg, false, func(ctx context.Context, _ question, _ bool) ([]byte, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})
		h, err := q.check(reply)
		if err != nil || h.RCode != dnsmessage.RCodeServerFailure || !h.RecursionDesired {
			t.Errorf("got %+v, %v, want SERVFAIL with the question", h, err)
		}
	})
}

// FuzzAnswerMessage: no message makes the forwarder panic, and every answer
// carries the id of its question.
func FuzzAnswerMessage(f *testing.F) {
	q, _ := newQuestion(9, dnsmessage.MustNewName("www.test."), dnsmessage.TypeAAAA)
	f.Add(q.msg)
	f.Add(make([]byte, dnsHeaderLen))
	f.Fuzz(func(t *testing.T, msg []byte) {
		reply := answerMessage(t.Context(), msg, false, func(context.Context, question, bool) ([]byte, error) {
			return nil, errMismatch
		})
		if reply != nil && !slices.Equal(reply[:2], msg[:2]) {
			t.Errorf("got id %x, want %x", reply[:2], msg[:2])
		}
	})
}

// FuzzReadAnswer: no answer of a nameserver makes the resolver panic.
func FuzzReadAnswer(f *testing.F) {
	z := zone{"www.test. CNAME": {"a.test."}, "a.test. A": {"192.0.2.10"}}
	name := dnsmessage.MustNewName("www.test.")
	q, _ := newQuestion(9, name, dnsmessage.TypeA)
	f.Add(z.answer(q.msg, false))
	f.Fuzz(func(t *testing.T, msg []byte) {
		q.check(msg)
		readAnswer(msg, name, dnsmessage.TypeA)
	})
}
