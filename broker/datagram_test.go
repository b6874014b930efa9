package broker

import (
	"bytes"
	"fmt"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// families are what a program asks for, and the far address that it then uses.
var families = []struct {
	name   string
	family int
	near   netip.Addr
	far    netip.Addr
}{
	{"IPv4", unix.AF_INET, near4, far4},
	{"IPv6", unix.AF_INET6, near6, far6},
	{"IPv4-mapped", unix.AF_INET6, near4, far4},
}

func TestConnectedSocketTalksNatively(t *testing.T) {
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			b, far := newDatagramBroker(t, nil)
			server := listenFar(t, far, at(f.far, 7000))
			s := newTestSocket(t, b, f.family)
			s.wantConnect(at(f.far, 7000), ok)
			if got := s.local(); got.Addr() != f.near || got.Port() == 0 {
				t.Errorf("getsockname: got %v, want %v and a port", got, f.near)
			}
			if got, errno := s.PeerName(); errno != ok || !bytes.Equal(got, s.name(at(f.far, 7000))) {
				t.Errorf("getpeername: got %x, %v", got, errno)
			}
			s.write("question")
			from := server.want("question")
			if from != s.local() {
				t.Errorf("the far end sees %v, getsockname says %v", from, s.local())
			}
			server.send(from, "answer")
			s.wantRead("answer")
			server.send(from, "another")
			s.wantReceive(at(f.far, 7000), "another")
		})
	}
}

func TestUnconnectedSocketTalksToMany(t *testing.T) {
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			b, far := newDatagramBroker(t, nil)
			one, two := listenFar(t, far, at(f.far, 7001)), listenFar(t, far, at(f.far, 7002))
			s := newTestSocket(t, b, f.family)
			s.wantName(s.wildcard())
			s.sendTo(at(f.far, 7001), "to one", ok)
			s.sendTo(at(f.far, 7002), "to two", ok)
			from := one.want("to one")
			if again := two.want("to two"); again != from || from.Addr() != f.near {
				t.Errorf("got from %v and %v, want both from one port of %v", from, again, f.near)
			}
			if got := s.local(); got != at(s.wildcard().Addr(), from.Port()) {
				t.Errorf("getsockname: got %v, want the wildcard and port %d", got, from.Port())
			}
			one.send(from, "from one")
			s.wantReceive(at(f.far, 7001), "from one")
			two.send(from, "from two")
			s.wantReceive(at(f.far, 7002), "from two")
			two.send(from, "read natively")
			s.wantRead("read natively")
			one.send(from, "and not")
			s.wantReceive(at(f.far, 7001), "and not")
		})
	}
}

func TestOnlyThePeerGetsIn(t *testing.T) {
	b, far := newDatagramBroker(t, nil)
	peer, stranger := listenFar(t, far, at(far4, 7000)), listenFar(t, far, at(other, 7000))
	s := newTestSocket(t, b, unix.AF_INET)
	s.wantBind(addr("0.0.0.0:5000"), ok)
	stranger.send(at(near4, 5000), "before")
	if r, errno := s.receive(100, unix.MSG_PEEK); errno != ok || string(r.Payload) != "before" {
		t.Fatalf("got %v", errno)
	}
	s.wantConnect(at(far4, 7000), ok)
	s.wantName(at(near4, 5000))
	stranger.send(at(near4, 5000), "after")
	peer.send(at(near4, 5000), "peer's")
	s.wantReceive(at(other, 7000), "before") // as Linux, which keeps what has come
	s.wantReceive(at(far4, 7000), "peer's")
}

// What has no tag is from the peer that was connected when it came.
func TestSourcesStayRightWhenThePeerChanges(t *testing.T) {
	b, far := newDatagramBroker(t, nil)
	one, two := listenFar(t, far, at(far4, 7001)), listenFar(t, far, at(far4, 7002))
	s := newTestSocket(t, b, unix.AF_INET)
	s.wantBind(addr("0.0.0.0:5000"), ok)
	s.wantConnect(at(far4, 7001), ok)
	arrived := func(n int) { // n bytes are in the queue
		for got := 0; got < n; {
			p := []unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLIN}}
			unix.Poll(p, 100)
			got, _ = unix.IoctlGetInt(s.fd, unix.TIOCINQ)
		}
	}
	one.send(at(near4, 5000), "one")
	arrived(3)
	s.wantConnect(at(far4, 7002), ok)
	two.send(at(near4, 5000), "two")
	arrived(6)
	s.Connect(make([]byte, 16))
	one.send(at(near4, 5000), "three")
	s.wantReceive(at(far4, 7001), "one")
	s.wantReceive(at(far4, 7002), "two")
	// Disconnected, the port is the one that was asked for.
	s.wantReceive(at(far4, 7001), "three")
}

func TestEmptyDatagramsAreDatagrams(t *testing.T) {
	b, far := newDatagramBroker(t, nil)
	server := listenFar(t, far, at(far4, 7000))
	s := newTestSocket(t, b, unix.AF_INET)
	s.wantConnect(at(far4, 7000), ok)
	s.write("")
	from := server.want("")
	s.sendTo(at(far4, 7000), "", ok)
	server.want("")
	s.write("still there")
	server.want("still there")
	server.send(from, "")
	s.wantReceive(at(far4, 7000), "")
	server.send(from, "")
	s.wantRead("")

	u := newTestSocket(t, b, unix.AF_INET)
	u.sendTo(at(far4, 7000), "", ok)
	server.send(server.want(""), "")
	u.wantReceive(at(far4, 7000), "")
}

// The last words are sent: data that the program has written before it closed.
func TestSocketEndsWithItsLastDescriptor(t *testing.T) {
	b, far := newDatagramBroker(t, nil)
	server := listenFar(t, far, at(far4, 7000))
	for i := range 20 {
		s := newTestSocket(t, b, unix.AF_INET)
		s.wantConnect(at(far4, 7000), ok)
		dup, err := unix.Dup(s.fd)
		if err != nil {
			t.Fatal(err)
		}
		s.close()
		unix.Write(dup, fmt.Append(nil, "last ", i))
		unix.Sendto(dup, nil, 0, nil)
		unix.Close(dup)
		server.want(fmt.Sprint("last ", i))
		server.want("")
		<-s.done
		if b.Datagram(s.ino) != nil {
			t.Error("the Broker still knows a socket that is closed")
		}
		if n, errno := s.Send(t.Context(), Message{Payload: []byte("x")}, false); errno != unix.EPIPE {
			t.Errorf("send after the end: got %d, %v", n, errno)
		}
	}
	b.udp.sw.mu.Lock()
	defer b.udp.sw.mu.Unlock()
	if len(b.udp.sw.seats) != 0 {
		t.Errorf("ports are left: %v", b.udp.sw.seats)
	}
}

func TestHalfClosedSocketStillReceives(t *testing.T) {
	b, far := newDatagramBroker(t, nil)
	server := listenFar(t, far, at(far4, 7000))
	s := newTestSocket(t, b, unix.AF_INET)
	s.wantConnect(at(far4, 7000), ok)
	s.write("bye")
	unix.Shutdown(s.fd, unix.SHUT_WR)
	server.send(server.want("bye"), "bye bye")
	s.wantReceive(at(far4, 7000), "bye bye")
	unix.Shutdown(s.fd, unix.SHUT_RDWR)
	<-s.done
}

func TestThousandSocketsLeaveNothing(t *testing.T) {
	b, far := newDatagramBroker(t, nil)
	server := listenFar(t, far, at(far4, 7053))
	before := openDescriptors(t)
	for range 100 {
		var some []*testSocket
		for range 10 {
			s := newTestSocket(t, b, unix.AF_INET)
			s.wantConnect(at(far4, 7053), ok)
			s.write("name?")
			server.send(server.want("name?"), "address")
			some = append(some, s)
		}
		for _, s := range some {
			s.wantRead("address")
			s.close()
		}
		for _, s := range some {
			<-s.done
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if n := len(b.datagrams); n != 0 {
		t.Errorf("%d sockets are left", n)
	}
	// TestMain looks for goroutines.
	if after := openDescriptors(t); after > before+10 {
		t.Errorf("%d descriptors are left of %d", after, before)
	}
}
