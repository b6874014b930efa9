package broker

import (
	"fmt"
	"net/netip"
	"testing"

	"adit/netstack"

	"golang.org/x/sys/unix"
)

// reuse returns a socket that is bound with SO_REUSEADDR.
func reuse(t *testing.T, b *Broker, family int, a netip.AddrPort) *testSocket {
	t.Helper()
	s := newTestSocket(t, b, family)
	if err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		t.Fatal(err)
	}
	s.wantBind(a, ok)
	return s
}

// sharePort returns a socket that is bound with SO_REUSEPORT.
func sharePort(t *testing.T, b *Broker, a netip.AddrPort) *testSocket {
	t.Helper()
	s := newTestSocket(t, b, unix.AF_INET)
	if errno := s.SetOption(unix.SOL_SOCKET, unix.SO_REUSEPORT, []byte{1, 0, 0, 0}); errno != ok {
		t.Fatal(errno)
	}
	s.wantBind(a, ok)
	return s
}

func TestSocketsThatReuseTheAddressShareAPort(t *testing.T) {
	b, far := newDatagramBroker(t, nil)
	server := listenFar(t, far, at(far4, 7000))
	for _, a := range []netip.AddrPort{addr("127.0.0.1:5353"), addr("0.0.0.0:5353"), at(near4, 5353)} {
		first, second := reuse(t, b, unix.AF_INET, a), reuse(t, b, unix.AF_INET, a)
		newTestSocket(t, b, unix.AF_INET).wantBind(a, unix.EADDRINUSE)
		c := newTestSocket(t, b, unix.AF_INET)
		to := a
		if a.Addr().IsUnspecified() {
			to = addr("127.0.0.1:5353")
		}
		hear := func(s *testSocket, words string) { // from the run, and from the tunnel
			c.sendTo(to, words, ok)
			s.wantRead(words)
			if !a.Addr().IsLoopback() {
				server.send(at(near4, 5353), words)
				s.wantReceive(at(far4, 7000), words)
			}
		}
		hear(second, "the last one gets it")
		if !a.Addr().IsLoopback() {
			for _, s := range []*testSocket{first, second} {
				s.sendTo(at(far4, 7000), "both send", ok)
				if from := server.want("both send"); from != at(near4, 5353) {
					t.Errorf("it came from %v", from)
				}
			}
		}
		second.close()
		<-second.done
		hear(first, "the other is left")
		first.close()
		<-first.done // what comes to its address is for the next one
	}
}

func TestSocketsThatShareThePortAreChosenBySource(t *testing.T) {
	b, far := newDatagramBroker(t, nil)
	a := addr("0.0.0.0:5300")
	all := []*testSocket{sharePort(t, b, a), sharePort(t, b, a), sharePort(t, b, a)}
	newTestSocket(t, b, unix.AF_INET).wantBind(a, unix.EADDRINUSE)
	for _, s := range all {
		s.setNonblock()
	}
	heard := map[int]int{}
	for port := range uint16(32) {
		client := listenFar(t, far, at(far4, 7000+port))
		owner := -1
		for n := range 2 {
			words := fmt.Sprint(port, n)
			client.send(at(near4, 5300), words)
			got := -1
			waitUntil(t, func() bool {
				for i, s := range all {
					buf := make([]byte, 16)
					if n, err := unix.Read(s.fd, buf); err == nil && string(buf[:n]) == words {
						got = i
					}
				}
				return got >= 0
			})
			if owner >= 0 && got != owner {
				t.Errorf("port %d reached socket %d, then %d", 7000+port, owner, got)
			}
			owner = got
		}
		heard[owner]++
	}
	if len(heard) != len(all) {
		t.Errorf("got sources per socket %v, want some for each of %d", heard, len(all))
	}
}

func (s *testSocket) setNonblock() {
	if err := unix.SetNonblock(s.fd, true); err != nil {
		s.t.Fatal(err)
	}
}

// What the program has closed is not in its way, however soon it comes again.
func TestPortIsFreeAsSoonAsItsSocketIsClosed(t *testing.T) {
	b, far := newDatagramBroker(t, nil)
	server := listenFar(t, far, at(far4, 7000))
	for range 200 {
		s := newTestSocket(t, b, unix.AF_INET)
		s.wantBind(addr("0.0.0.0:5300"), ok)
		s.wantConnect(at(far4, 7000), ok)
		s.write("the last word")
		s.close()
		s = newTestSocket(t, b, unix.AF_INET)
		s.wantBind(addr("0.0.0.0:5300"), ok)
		server.want("the last word")
		s.close()
	}
}

func TestUrgentDatagramsAreRefused(t *testing.T) {
	b, _ := newDatagramBroker(t, nil)
	for _, row := range []struct {
		family int
		to     netip.AddrPort
		want   unix.Errno
	}{
		{unix.AF_INET, at(far4, 7000), unix.EOPNOTSUPP},
		{unix.AF_INET6, at(far4, 7000), unix.EOPNOTSUPP},
		{unix.AF_INET6, at(far6, 7000), ok},
	} {
		s := newTestSocket(t, b, row.family)
		if n, errno := s.Send(t.Context(), Message{To: s.name(row.to), Payload: []byte("x"), Flags: unix.MSG_OOB}, false); errno != row.want {
			t.Errorf("to %v: got %d, %v, want %v", row.to, n, errno, row.want)
		}
	}
}

// Where there is a way to it, it is not for everybody.
func TestBroadcastIsRefused(t *testing.T) {
	all, err := netstack.New(netstack.Config{
		Addresses: []netip.Prefix{netip.PrefixFrom(near4, 32)}, Routes: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer all.Close()
	b, _ := newDatagramBroker(t, func(c *Config) { c.Dialer = all })
	newTestSocket(t, b, unix.AF_INET).sendTo(addr("255.255.255.255:7000"), "x", unix.EACCES)
}
