package broker

import (
	"context"
	"net"
	"net/netip"
	"runtime"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A connection is made for the socket whose connect was pending, and for no other that
// is at its address by then: whoever asks, and however.
func TestPendingSocketIsKnownFromOthersAtItsAddress(t *testing.T) {
	for _, way := range []string{"sock_diag", "proc"} {
		w := newStreamWorld(t)
		h := w.b.lo.hole
		if way == "proc" {
			h.diag.close()
		} else if h.diag.fd <= 0 {
			t.Fatal("no netlink socket")
		}
		for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
			s, other := w.socket(family, true), w.socket(family, true)
			pend := func(s *testStream) netip.AddrPort {
				if errno := connectLater(s.fd, toUnix(family, h.at)); errno != unix.EINPROGRESS {
					t.Fatal(errno)
				}
				native, err := nativeLocal(s.fd)
				if err != nil {
					t.Fatal(err)
				}
				return native
			}
			native, otherNative := pend(s), pend(other)
			who := identityOf(s.inode(), s.fd)
			if who.cookie == 0 {
				t.Error("a socket has no cookie")
			}
			if fd, err := h.pull(otherNative, who); err == nil {
				t.Errorf("%s: another socket is joined", way)
				unix.Close(fd)
			}
			if p := other.poll(unix.POLLOUT, 0); p != 0 {
				t.Errorf("%s: another socket has events %x", way, p)
			}
			end, err := h.pull(native, who)
			if err != nil {
				t.Fatalf("%s: %v", way, err)
			}
			if p := s.poll(unix.POLLOUT, time.Second); p != unix.POLLOUT {
				t.Errorf("%s: got events %x", way, p)
			}
			// What a program has closed is still its own, as long as it has to send.
			unix.Write(s.fd, []byte("x"))
			s.close()
			if is := h.diag.is(native, h.at, who); way == "sock_diag" && !is {
				t.Error("what is closed is not known any more")
			}
			unix.Close(end)
		}
	}
}

// The program may close a socket whose connect is pending. Should the port be a service
// of the host's when the tunnel's end is there, that is not who it is for.
func TestConnectionForAClosedSocketLeadsToNobody(t *testing.T) {
	for _, network := range []string{"tcp4", "tcp"} { // the latter at every address of IPv6, too
		t.Run(network, func(t *testing.T) { testClosedSocket(t, network) })
	}
}

func testClosedSocket(t *testing.T, network string) {
	d := lateDialer{asked: make(chan struct{}, 8), let: make(chan struct{})}
	w := newLateWorld(t, d)
	w.echo("7")
	// At a port that is free at every address.
	free, err := net.Listen(network, ":0")
	if err != nil {
		t.Fatal(err)
	}
	port := free.Addr().(*net.TCPAddr).Port
	free.Close()
	s := w.bound(unix.AF_INET, "127.0.0.1:"+strconv.Itoa(port))
	unix.SetNonblock(s.fd, true)
	if errno := s.connectWith(context.Background(), sockaddr(unix.AF_INET, addr("10.9.0.1:7"))); errno != unix.EINPROGRESS {
		t.Fatal(errno)
	}
	<-d.asked
	native, err := nativeLocal(s.fd)
	if err != nil {
		t.Fatal(err)
	}
	w.sockets.Delete(s.inode())
	s.close()
	host, err := net.Listen(network, ":"+strconv.Itoa(int(native.Port())))
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	close(d.let)
	over := func() bool {
		w.b.streams.mu.Lock()
		defer w.b.streams.mu.Unlock()
		return len(w.b.streams.dials) == 0
	}
	for end := time.Now().Add(10 * time.Second); !over(); {
		if time.Now().After(end) {
			t.Fatal("the connect has no end")
		}
		runtime.Gosched()
	}
	raw, err := host.(*net.TCPListener).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) {
		if n, _ := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0); n != 0 {
			t.Error("the tunnel's end is connected to the host's service")
		}
	})
}
