package preload

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"adit/broker"
	"adit/netstack"
	"adit/netstack/stacktest"

	"golang.org/x/net/dns/dnsmessage"
)

// A testNet is two Stacks with a wire between them, as if an engine and its peer
// were there: near is ours, far is the rest of the world, with some servers.
//
//	10.9.0.2, fd09::2  near ═══ far  10.9.0.1, fd09::1
//
//	far:53    a nameserver, that knows names
//	far:80    HTTP: who asks, and for what
//	far:7     echo
//	far:9     accepts and says nothing
type testNet struct{ near, far *netstack.Stack }

// names is what the nameserver knows: "name TYPE" to values.
var names = map[string][]string{
	"www.test. A":                {"10.9.0.1"},
	"www.test. AAAA":             {"fd09::1"},
	"four.test. A":               {"10.9.0.1"},
	"six.test. AAAA":             {"fd09::1"},
	"many.test. A":               {"10.9.0.11", "10.9.0.12", "10.9.0.13"},
	"short.corp. A":              {"10.9.0.1"},
	"1.0.9.10.in-addr.arpa. PTR": {"www.test."},
	"www.test. MX":               {"mail.test."},
}

func newTestNet(t testing.TB) *testNet {
	t.Helper()
	n := &testNet{
		near: stacktest.New(t, netstack.Config{DNS: []netip.Addr{netip.MustParseAddr("10.9.0.1")}, Search: []string{"corp"}}, "10.9.0.2/24", "fd09::2/64"),
		far:  stacktest.New(t, netstack.Config{Expose: netstack.Exposed{All: true}}, "10.9.0.1/24", "fd09::1/64"),
	}
	stacktest.Join(t, n.near, n.far)
	n.serveDNS(t)
	n.listen(t, ":80", func(l net.Listener) {
		http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			host, _, _ := net.SplitHostPort(r.RemoteAddr)
			fmt.Fprintf(w, "%s asks %s\n", host, r.URL.Path)
		}))
	})
	n.listen(t, ":7", func(l net.Listener) {
		var wg sync.WaitGroup
		defer wg.Wait()
		each(l, func(c net.Conn) {
			wg.Go(func() {
				defer c.Close()
				io.Copy(c, c)
			})
		})
	})
	n.listen(t, ":9", func(l net.Listener) {
		var held []net.Conn
		each(l, func(c net.Conn) { held = append(held, c) })
		for _, c := range held {
			c.Close()
		}
	})
	return n
}

// listen serves an address of the far Stack until the end of the test.
func (n *testNet) listen(t testing.TB, address string, serve func(net.Listener)) {
	t.Helper()
	l, err := n.far.Listen(context.Background(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() { serve(l) })
	t.Cleanup(func() { l.Close(); wg.Wait() })
}

// each calls f, in turn, with each connection, until there is none any more.
func each(l net.Listener, f func(net.Conn)) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		f(c)
	}
}

func (n *testNet) serveDNS(t testing.TB) {
	t.Helper()
	c, err := n.far.ListenPacket(context.Background(), "udp", ":53")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		buf := make([]byte, 1500)
		for {
			size, from, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			if reply := answerDNS(buf[:size]); reply != nil {
				c.WriteTo(reply, from)
			}
		}
	})
	t.Cleanup(func() { c.Close(); wg.Wait() })
}

// answerDNS builds the reply to a question. Of names under "silent." there is none.
func answerDNS(query []byte) []byte {
	var m dnsmessage.Message
	if m.Unpack(query) != nil || len(m.Questions) != 1 {
		return nil
	}
	q := m.Questions[0]
	name, kind := q.Name.String(), strings.TrimPrefix(q.Type.String(), "Type")
	if strings.HasSuffix(name, "silent.") {
		return nil
	}
	m.Response, m.Additionals = true, nil
	known := false
	for k := range names {
		known = known || strings.HasPrefix(k, name+" ")
	}
	if !known {
		m.RCode = dnsmessage.RCodeNameError
	}
	for _, v := range names[name+" "+kind] {
		r := dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 60}}
		switch q.Type {
		case dnsmessage.TypeA:
			r.Body = &dnsmessage.AResource{A: netip.MustParseAddr(v).As4()}
		case dnsmessage.TypeAAAA:
			r.Body = &dnsmessage.AAAAResource{AAAA: netip.MustParseAddr(v).As16()}
		case dnsmessage.TypePTR:
			r.Body = &dnsmessage.PTRResource{PTR: dnsmessage.MustNewName(v)}
		case dnsmessage.TypeMX:
			r.Body = &dnsmessage.MXResource{Pref: 10, MX: dnsmessage.MustNewName(v)}
		}
		m.Answers = append(m.Answers, r)
	}
	reply, err := m.Pack()
	if err != nil {
		return nil
	}
	return reply
}

// newTestServer returns a Server over a network, serving until the end of the test.
// allowed says who may ask, and change what else is different.
func newTestServer(t testing.TB, n *testNet, allowed func(pid int) bool, change ...func(*Server)) *Server {
	t.Helper()
	addresses := []netip.Addr{netip.MustParseAddr("10.9.0.2"), netip.MustParseAddr("fd09::2")}
	b, err := broker.New(broker.Config{Dialer: n.near, Addresses: addresses})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s, err := NewServer(ServerConfig{
		Broker: b, Lookup: n.near.LookupNetIP, Addresses: addresses, Search: []string{"corp"}, Allowed: allowed,
		Answer: func(udp net.PacketConn, tcp net.Listener) { n.near.ServeDNS(ctx, udp, tcp) },
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range change {
		f(s)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := s.Serve(ctx); err != nil {
			t.Error(err)
		}
	})
	// A connection that a program has given up goes on to be made: it ends with
	// the Broker.
	t.Cleanup(func() { cancel(); b.Close(); wg.Wait() })
	return s
}
