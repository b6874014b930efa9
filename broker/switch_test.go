package broker

import (
	"encoding/binary"
	"net"
	"net/netip"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestSocketsOfARunMeetOnLoopback(t *testing.T) {
	b, _ := newDatagramBroker(t, nil)
	lo4, lo6 := loopbackOf(near4), loopbackOf(near6)
	for _, row := range []struct {
		name           string
		serverFamily   int
		bind           netip.AddrPort
		family         int
		to             netip.AddrPort
		source, answer netip.Addr // what the server sees, what the client sees
	}{
		{"loopback", unix.AF_INET, addr("127.0.0.1:5000"), unix.AF_INET, addr("127.0.0.1:5000"), lo4, lo4},
		{"wildcard", unix.AF_INET, addr("0.0.0.0:5000"), unix.AF_INET, addr("127.0.0.1:5000"), lo4, lo4},
		{"this host", unix.AF_INET, addr("0.0.0.0:5000"), unix.AF_INET, addr("0.0.0.0:5000"), lo4, lo4},
		{"another of 127.0.0.0/8", unix.AF_INET, addr("127.1.2.3:5000"), unix.AF_INET, addr("127.1.2.3:5000"), lo4, netip.MustParseAddr("127.1.2.3")},
		{"tunnel's address", unix.AF_INET, at(near4, 5000), unix.AF_INET, at(near4, 5000), near4, near4},
		{"IPv6", unix.AF_INET6, addr("[::1]:5000"), unix.AF_INET6, addr("[::1]:5000"), lo6, lo6},
		{"IPv6's wildcard", unix.AF_INET6, addr("[::]:5000"), unix.AF_INET6, at(near6, 5000), near6, near6},
		{"IPv4 to IPv6", unix.AF_INET6, addr("[::]:5000"), unix.AF_INET, addr("127.0.0.1:5000"), lo4, lo4},
		{"IPv6 to IPv4", unix.AF_INET, addr("0.0.0.0:5000"), unix.AF_INET6, addr("127.0.0.1:5000"), lo4, lo4},
	} {
		t.Run(row.name, func(t *testing.T) {
			server := newTestSocket(t, b, row.serverFamily)
			server.wantBind(row.bind, ok)
			for _, connected := range []bool{false, true} {
				s := newTestSocket(t, b, row.family)
				if connected {
					s.wantConnect(row.to, ok)
					s.write("question")
				} else {
					s.sendTo(row.to, "question", ok)
				}
				source := at(row.source, s.local().Port())
				server.wantReceive(source, "question")
				server.sendTo(source, "answer", ok)
				s.wantReceive(at(row.answer, 5000), "answer")
			}
			server.close()
			<-server.done
		})
	}
}

func TestSocketReachesItself(t *testing.T) {
	b, _ := newDatagramBroker(t, nil)
	s := newTestSocket(t, b, unix.AF_INET)
	s.wantBind(addr("127.0.0.1:5000"), ok)
	s.wantConnect(addr("127.0.0.1:5000"), ok)
	s.write("me")
	s.wantReceive(addr("127.0.0.1:5000"), "me")
}

// A socket that is connected hears of it, another one does not; the host's own services
// are never reached.
func TestNobodyOnLoopbackIsRefused(t *testing.T) {
	host, err := net.ListenPacket("udp4", "127.0.0.1:0") // on the machine, not in the run
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	b, _ := newDatagramBroker(t, nil)
	to := addrPortOf(host.LocalAddr())
	for _, dst := range []netip.AddrPort{to, at(near4, to.Port())} {
		s := newTestSocket(t, b, unix.AF_INET)
		s.wantConnect(dst, ok)
		s.write("?")
		wantRefused(t, s)
		s.wantConnect(addr("127.0.0.1:1"), ok)
		s.Connect(make([]byte, 16))
		s.sendTo(dst, "?", ok)
		if r, errno := s.receive(10, unix.MSG_DONTWAIT); errno != unix.EAGAIN {
			t.Errorf("not connected: got %v, %v, want nothing", r, errno)
		}
	}
	host.SetReadDeadline(aLongTimeAgo)
	if n, from, err := host.ReadFrom(make([]byte, 10)); err == nil {
		t.Errorf("the host got %d bytes from %v", n, from)
	}
}

// wantRefused wants to hear of it by each of the ways to hear, once.
func wantRefused(t *testing.T, s *testSocket) {
	t.Helper()
	p := []unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLIN}}
	poll := func() {
		t.Helper()
		if n, err := unix.Poll(p, 10000); n != 1 {
			t.Fatalf("poll: %d, %v", n, err)
		}
	}
	poll()
	if _, errno := s.receive(10, 0); errno != unix.ECONNREFUSED {
		t.Errorf("receive: got %v, want ECONNREFUSED", errno)
	}
	if r, errno := s.receive(10, unix.MSG_DONTWAIT); errno != unix.EAGAIN {
		t.Errorf("receive again: got %v, %v, want nothing", r, errno)
	}
	s.write("?")
	poll()
	if got, errno := s.GetOption(unix.SOL_SOCKET, unix.SO_ERROR); syscall.Errno(binary.NativeEndian.Uint32(got)) != unix.ECONNREFUSED {
		t.Errorf("SO_ERROR: got %x, %v, want ECONNREFUSED", got, errno)
	}
	if n, errno := s.Send(t.Context(), Message{Payload: []byte("?")}, false); errno != ok {
		t.Errorf("the error was asked for: got %d, %v, want ok", n, errno)
	}
	waitUntil(t, func() bool { return s.pendingError() != ok })
	if n, errno := s.Send(t.Context(), Message{Payload: []byte("?")}, false); errno != unix.ECONNREFUSED {
		t.Errorf("send: got %d, %v, want ECONNREFUSED", n, errno)
	}
	// Who reads natively gets an empty datagram.
	for range 3 {
		s.receive(10, unix.MSG_DONTWAIT)
	}
	s.write("?")
	s.wantRead("")
	s.GetOption(unix.SOL_SOCKET, unix.SO_ERROR)
}

func (s *testSocket) pendingError() syscall.Errno {
	s.in.mu.Lock()
	defer s.in.mu.Unlock()
	return s.in.pending
}

func TestClosedPortBeyondTheTunnelIsRefused(t *testing.T) {
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			b, _ := newDatagramBroker(t, nil)
			s := newTestSocket(t, b, f.family)
			s.wantConnect(at(f.far, 9999), ok)
			s.write("?")
			wantRefused(t, s)
		})
	}
}

func TestMostFittingSocketGetsTheDatagram(t *testing.T) {
	b, _ := newDatagramBroker(t, nil)
	all, one := newTestSocket(t, b, unix.AF_INET), newTestSocket(t, b, unix.AF_INET)
	all.wantBind(addr("127.0.0.1:5000"), ok)
	one.wantBind(addr("127.0.0.2:5000"), ok)
	s := newTestSocket(t, b, unix.AF_INET)
	s.wantBind(addr("127.0.0.1:6000"), ok)
	s.sendTo(addr("127.0.0.2:5000"), "one", ok)
	s.sendTo(addr("127.0.0.1:5000"), "all", ok)
	one.wantReceive(addr("127.0.0.1:6000"), "one")
	all.wantReceive(addr("127.0.0.1:6000"), "all")
	// Connected to somebody else it is not there for s.
	one.wantConnect(addr("127.0.0.1:7000"), ok)
	s.wantConnect(addr("127.0.0.2:5000"), ok)
	s.write("?")
	if _, errno := s.receive(10, 0); errno != unix.ECONNREFUSED {
		t.Errorf("got %v, want ECONNREFUSED", errno)
	}
}
