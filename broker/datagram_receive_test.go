package broker

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestLongDatagramIsCut(t *testing.T) {
	b, far := newDatagramBroker(t, nil)
	server := listenFar(t, far, at(far4, 7000))
	s := newTestSocket(t, b, unix.AF_INET)
	s.sendTo(at(far4, 7000), "?", ok)
	from := server.want("?")
	long := strings.Repeat("0123456789", 3000) // in fragments
	server.send(from, long)
	r, errno := s.receive(10, unix.MSG_PEEK)
	if errno != ok || string(r.Payload) != "0123456789" || r.Len != len(long) || r.Flags != unix.MSG_TRUNC {
		t.Fatalf("peek: got %q of %d, flags %#x, %v", r.Payload, r.Len, r.Flags, errno)
	}
	r, errno = s.receive(0, 0)
	if errno != ok || len(r.Payload) != 0 || r.Len != len(long) || r.Flags != unix.MSG_TRUNC {
		t.Fatalf("got %q of %d, flags %#x, %v", r.Payload, r.Len, r.Flags, errno)
	}
	server.send(from, long)
	if r := s.wantReceive(at(far4, 7000), long); r.Flags != 0 || r.Len != len(long) {
		t.Errorf("got flags %#x, length %d", r.Flags, r.Len)
	}
	s.sendTo(at(far4, 7000), long, ok)
	server.want(long)
}

func TestNothingThereIsEAGAIN(t *testing.T) {
	b, _ := newDatagramBroker(t, nil)
	s := newTestSocket(t, b, unix.AF_INET)
	want := func(how string, got, want syscall.Errno) {
		t.Helper()
		if got != want {
			t.Errorf("%s: got %v, want %v", how, got, want)
		}
	}
	_, errno := s.Receive(t.Context(), s.fd, 10, 0, true)
	want("a non-blocking socket", errno, unix.EAGAIN)
	_, errno = s.receive(10, unix.MSG_DONTWAIT)
	want("MSG_DONTWAIT", errno, unix.EAGAIN)
	_, errno = s.receive(10, unix.MSG_ERRQUEUE)
	want("MSG_ERRQUEUE", errno, unix.EAGAIN)
	unix.SetsockoptTimeval(s.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 20000})
	begin := time.Now()
	_, errno = s.receive(10, 0)
	want("SO_RCVTIMEO", errno, unix.EAGAIN)
	if waited := time.Since(begin); waited < 20*time.Millisecond {
		t.Errorf("waited for %v, SO_RCVTIMEO is 20 ms", waited)
	}
}

func TestReceiveWaitsForADatagram(t *testing.T) {
	b, far := newDatagramBroker(t, nil)
	server := listenFar(t, far, at(far4, 7000))
	s := newTestSocket(t, b, unix.AF_INET)
	s.sendTo(at(far4, 7000), "?", ok)
	from := server.want("?")
	var wg sync.WaitGroup
	got := make(chan string, 3)
	for range cap(got) {
		wg.Go(func() {
			r, errno := s.receive(100, 0)
			if errno != ok {
				t.Error(errno)
				return
			}
			got <- string(r.Payload)
		})
	}
	for range cap(got) {
		waitUntil(t, func() bool { return s.isWaitedFor() })
		server.send(from, "!")
		if p := <-got; p != "!" {
			t.Errorf("got %q", p)
		}
	}
	wg.Wait()
}

// isWaitedFor reports whether a Receive waits.
func (s *testSocket) isWaitedFor() bool {
	s.in.mu.Lock()
	defer s.in.mu.Unlock()
	return s.in.arrived != nil
}

// waitUntil looks again and again for what nothing tells of.
func waitUntil(t testing.TB, is func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it did not happen in ten seconds")
		}
	}
}

func TestReceiveEndsWithItsContextOrSocket(t *testing.T) {
	b, _ := newDatagramBroker(t, nil)
	s := newTestSocket(t, b, unix.AF_INET)
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan syscall.Errno)
	receive := func() {
		_, errno := s.Receive(ctx, s.fd, 10, 0, false)
		result <- errno
	}
	go receive()
	waitUntil(t, s.isWaitedFor)
	cancel()
	if errno := <-result; errno != unix.EINTR {
		t.Errorf("interrupted: got %v, want EINTR", errno)
	}
	ctx = t.Context()
	go receive()
	waitUntil(t, s.isWaitedFor)
	unix.Shutdown(s.fd, unix.SHUT_RDWR)
	if errno := <-result; errno != ok {
		t.Errorf("shut down: got %v, want nothing", errno)
	}
}

func TestReturnedDatagramIsTheFirst(t *testing.T) {
	b, far := newDatagramBroker(t, nil)
	server := listenFar(t, far, at(far4, 7000))
	s := newTestSocket(t, b, unix.AF_INET)
	s.sendTo(at(far4, 7000), "?", ok)
	from := server.want("?")
	for i := range 3 {
		server.send(from, fmt.Sprint("datagram ", i))
	}
	r, errno := s.receive(4, 0)
	if errno != ok || string(r.Payload) != "data" {
		t.Fatal(errno)
	}
	s.Return(r)
	peeked, errno := s.receive(100, unix.MSG_PEEK)
	if errno != ok || string(peeked.Payload) != "datagram 0" {
		t.Fatalf("got %v, %v", peeked, errno)
	}
	s.Return(peeked) // was never taken
	for i := range 3 {
		s.wantReceive(at(far4, 7000), fmt.Sprint("datagram ", i))
	}
	if r, errno := s.receive(100, unix.MSG_DONTWAIT); errno != unix.EAGAIN {
		t.Errorf("got %v, %v, want nothing", r, errno)
	}
	// Who polls for what was put back is woken.
	server.send(from, "again")
	r = s.wantReceive(at(far4, 7000), "again")
	s.Return(r)
	p := []unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLIN}}
	if n, err := unix.Poll(p, 0); n != 1 {
		t.Errorf("poll after Return: %d, %v", n, err)
	}
	s.wantReceive(at(far4, 7000), "again")
}

func TestPeekLeavesTheDatagramAndTakesTheMarkers(t *testing.T) {
	b, far := newDatagramBroker(t, nil)
	server := listenFar(t, far, at(far4, 7000))
	s := newTestSocket(t, b, unix.AF_INET)
	s.sendTo(at(far4, 7000), "?", ok)
	from := server.want("?")
	s.in.mu.Lock()
	s.in.put(tag{}, nil)
	s.in.put(tag{}, nil)
	s.in.mu.Unlock()
	server.send(from, "data")
	for range 2 {
		if r, errno := s.receive(100, unix.MSG_PEEK); errno != ok || string(r.Payload) != "data" {
			t.Fatalf("peek: got %v, %v", r, errno)
		}
	}
	s.wantReceive(at(far4, 7000), "data")
}

// More than the kernel's queue holds waits in the broker, more than that is lost, and
// what comes is in order.
func TestFullQueueDropsTheNewest(t *testing.T) {
	b, far := newDatagramBroker(t, nil)
	listenFar(t, far, at(far4, 7000))
	s := newTestSocket(t, b, unix.AF_INET)
	s.wantConnect(at(far4, 7000), ok)
	const sent = 5000
	for i := range sent {
		s.in.push(tag{at(far4, 7000), near4}, binary.BigEndian.AppendUint32(nil, uint32(i)))
	}
	n := 0
	for ; ; n++ {
		// The queue moves on while it is read.
		waitUntil(t, func() bool {
			unread, _ := unix.IoctlGetInt(s.fd, unix.TIOCINQ)
			s.in.mu.Lock()
			defer s.in.mu.Unlock()
			return unread > 0 || !s.in.pumping
		})
		r, errno := s.receive(100, unix.MSG_DONTWAIT)
		if errno == unix.EAGAIN {
			break
		}
		if got := binary.BigEndian.Uint32(r.Payload); got != uint32(n) {
			t.Fatalf("got datagram %d, want %d", got, n)
		}
	}
	if n < maxQueued || n == sent {
		t.Errorf("%d of %d datagrams arrived, want %d and some", n, sent, maxQueued)
	}
	s.in.push(tag{at(far4, 7000), near4}, []byte("after that"))
	s.wantRead("after that")
}

func TestControlTellsTheLocalAddress(t *testing.T) {
	b, far := newDatagramBroker(t, nil)
	server4, server6 := listenFar(t, far, at(far4, 7000)), listenFar(t, far, at(far6, 7000))
	s := newTestSocket(t, b, unix.AF_INET6)
	on := binary.NativeEndian.AppendUint32(nil, 1)
	for _, o := range []option{
		{unix.SOL_IPV6, unix.IPV6_RECVPKTINFO}, {unix.SOL_IPV6, unix.IPV6_RECVTCLASS},
		{unix.SOL_IP, unix.IP_PKTINFO}, {unix.SOL_IP, unix.IP_RECVTOS},
	} {
		if errno := s.SetOption(o.level, o.name, on); errno != ok {
			t.Fatal(o, errno)
		}
	}
	s.sendTo(at(far4, 7000), "4", ok)
	server4.send(server4.want("4"), "4")
	s.sendTo(at(far6, 7000), "6", ok)
	server6.send(server6.want("6"), "6")
	lo := string(binary.NativeEndian.AppendUint32(nil, 1))
	mapped, own := near4.As16(), near6.As16()
	want := func(r *Received, want map[option]string) {
		t.Helper()
		list, errno := parseControl(r.Control)
		if errno != ok || len(list) != len(want) {
			t.Errorf("got %d messages (%x), want %d", len(list), r.Control, len(want))
		}
		for _, c := range list {
			if w, is := want[option{int(c.level), int(c.kind)}]; !is || w != string(c.data) {
				t.Errorf("level %d, type %d: got %x, want %x", c.level, c.kind, c.data, w)
			}
		}
	}
	short := string(mapped[12:])
	want(s.wantReceive(at(far4, 7000), "4"), map[option]string{
		{unix.SOL_IP, unix.IP_PKTINFO}:     lo + short + short,
		{unix.SOL_IP, unix.IP_TOS}:         "\x00",
		{unix.SOL_IPV6, unix.IPV6_PKTINFO}: string(mapped[:]) + lo,
	})
	want(s.wantReceive(at(far6, 7000), "6"), map[option]string{
		{unix.SOL_IPV6, unix.IPV6_PKTINFO}: string(own[:]) + lo,
		{unix.SOL_IPV6, unix.IPV6_TCLASS}:  "\x00\x00\x00\x00",
	})
}

// The kernel's own times come through.
func TestTimestampsArePassedOn(t *testing.T) {
	b, _ := newDatagramBroker(t, nil)
	s, sender := newTestSocket(t, b, unix.AF_INET), newTestSocket(t, b, unix.AF_INET)
	if err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1); err != nil {
		t.Fatal(err)
	}
	s.wantBind(addr("127.0.0.1:5000"), ok)
	sender.sendTo(addr("127.0.0.1:5000"), "now", ok)
	r := s.wantReceive(at(loopbackOf(near4), sender.local().Port()), "now")
	list, errno := parseControl(r.Control)
	if errno != ok || len(list) != 1 || list[0].kind != unix.SO_TIMESTAMPNS || len(list[0].data) < 8 {
		t.Errorf("got %x, want SCM_TIMESTAMPNS", r.Control)
	}
}

// What a program asks of its socket as one of AF_UNIX does not cost the broker
// descriptors, nor does what it sends over it.
func TestDescriptorsAreNotLeft(t *testing.T) {
	b, far := newDatagramBroker(t, nil)
	server := listenFar(t, far, at(far4, 7000))
	s := newTestSocket(t, b, unix.AF_INET)
	s.wantConnect(at(far4, 7000), ok)
	if err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_PASSPIDFD, 1); err != nil {
		t.Skip(err) // since Linux 6.5
	}
	unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_PASSCRED, 1)
	s.write("?")
	from := server.want("?")
	var before int
	for i := range 50 {
		server.send(from, "!")
		s.wantReceive(at(far4, 7000), "!")
		if err := unix.Sendmsg(s.fd, []byte("with descriptors"), unix.UnixRights(s.fd, s.fd, s.fd), nil, 0); err != nil {
			t.Fatal(err)
		}
		server.want("with descriptors")
		if i == 0 {
			before = openDescriptors(t)
		}
	}
	if after := openDescriptors(t); after > before+10 {
		t.Errorf("got %d descriptors, want the %d of before", after, before)
	}
}

func openDescriptors(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}
