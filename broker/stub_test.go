package broker

import (
	"bufio"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var aLongTimeAgo = time.Unix(1, 0)

var stubs = []netip.Addr{netip.MustParseAddr("127.0.0.53"), netip.MustParseAddr("192.168.1.1"), netip.MustParseAddr("2001:db8::53")}

// withStubs has the names of stubs answered by an echo that knows how often it was
// begun.
func withStubs(begun *atomic.Int32) func(*Config) {
	return func(cfg *Config) {
		cfg.Stubs = stubs
		cfg.Answer = func(udp net.PacketConn, tcp net.Listener) {
			begun.Add(1)
			buf := make([]byte, 100)
			for udp != nil {
				n, from, err := udp.ReadFrom(buf)
				if err != nil {
					return
				}
				udp.WriteTo(fmt.Appendf(nil, "%s!", buf[:n]), from)
			}
			for {
				c, err := tcp.Accept()
				if err != nil {
					return
				}
				line, _ := bufio.NewReader(c).ReadString('\n')
				fmt.Fprintf(c, "stream: %s", line)
				c.Close()
			}
		}
	}
}

func TestNameserversOfTheHostAreAnswered(t *testing.T) {
	var begun atomic.Int32
	b, _ := newDatagramBroker(t, withStubs(&begun))
	source := map[netip.Addr]netip.Addr{stubs[0]: loopbackOf(near4), stubs[1]: near4, stubs[2]: near6}
	for _, stub := range stubs {
		for _, connected := range []bool{true, false} {
			s := newTestSocket(t, b, unix.AF_INET6)
			if connected {
				s.wantConnect(at(stub, 53), ok)
				if got := s.local(); got.Addr() != source[stub] {
					t.Errorf("asking %v from %v, want from %v", stub, got, source[stub])
				}
				s.write("name")
			} else {
				s.sendTo(at(stub, 53), "name", ok)
			}
			s.wantReceive(at(stub, 53), "name!")
		}
	}
	// Port 53 it is, and no other one.
	s := newTestSocket(t, b, unix.AF_INET)
	s.wantConnect(at(stubs[1], 54), unix.ENETUNREACH)
	newTestSocket(t, b, unix.AF_INET).wantBind(at(stubs[0], 53), unix.EADDRINUSE)
	for range 2 {
		c, err := b.stubConn()
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(c, "name")
		if got, err := bufio.NewReader(c).ReadString('\n'); got != "stream: name\n" {
			t.Errorf("by a stream: got %q, %v", got, err)
		}
		c.Close()
	}
	if n := begun.Load(); n != 2 {
		t.Errorf("Answer was begun %d times, want once for datagrams and once for streams", n)
	}
}

// A wildcard server does not get what a stub does, as if that were bound there.
func TestStubComesBeforeAWildcard(t *testing.T) {
	var begun atomic.Int32
	b, _ := newDatagramBroker(t, withStubs(&begun))
	server, s := newTestSocket(t, b, unix.AF_INET), newTestSocket(t, b, unix.AF_INET)
	server.wantBind(addr("0.0.0.0:53"), ok)
	s.sendTo(at(stubs[0], 53), "name", ok)
	s.wantReceive(at(stubs[0], 53), "name!")
	s.sendTo(addr("127.0.0.1:53"), "own", ok)
	server.wantReceive(at(loopbackOf(near4), s.local().Port()), "own")
}

func TestStubWithoutAnswerRefuses(t *testing.T) {
	b, _ := newDatagramBroker(t, func(cfg *Config) { cfg.Stubs = stubs })
	for _, stub := range stubs {
		s := newTestSocket(t, b, unix.AF_INET6)
		s.wantConnect(at(stub, 53), ok)
		s.write("name")
		if _, errno := s.receive(10, 0); errno != unix.ECONNREFUSED {
			t.Errorf("%v: got %v, want ECONNREFUSED", stub, errno)
		}
	}
	if _, err := b.stubConn(); errnoOf(err) != unix.ECONNREFUSED {
		t.Errorf("by a stream: got %v, want ECONNREFUSED", err)
	}
}

func TestStubThatEndsRefuses(t *testing.T) {
	b, _ := newDatagramBroker(t, func(cfg *Config) {
		cfg.Stubs = stubs
		cfg.Answer = func(net.PacketConn, net.Listener) {}
	})
	if c, err := b.stubConn(); errnoOf(err) != unix.ECONNREFUSED {
		t.Errorf("got %v, %v, want ECONNREFUSED", c, err)
	}
	b.closeDatagrams()
	s := &Datagram{b: b}
	if b.ask(s, addr("127.0.0.1:1"), at(stubs[0], 53), nil) {
		t.Error("a Broker that is closed answers")
	}
	if fd, errno := b.NewDatagram(unix.AF_INET, false); errno != unix.ENETDOWN {
		t.Errorf("socket of a Broker that is closed: got %d, %v, want ENETDOWN", fd, errno)
	}
}
