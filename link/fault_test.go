package link

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"unsafe"

	"adit/packet"
	"golang.org/x/sys/unix"
)

// has reports whether the message carries a control message of that kind.
func has(m *mmsghdr, level, typ int32) bool {
	if m.hdr.Controllen == 0 {
		return false
	}
	cs, _ := unix.ParseSocketControlMessage(unsafe.Slice(m.hdr.Control, m.hdr.Controllen))
	return slices.ContainsFunc(cs, func(c unix.SocketControlMessage) bool {
		return c.Header.Level == level && c.Header.Type == typ
	})
}

func isGSO(m *mmsghdr) bool { return has(m, unix.SOL_UDP, unix.UDP_SEGMENT) }

// A faulty kernel is the real one, but for what refuse says about a message.
// Refused or not, it is logged.
type faulty struct {
	mu     sync.Mutex
	refuse func(m *mmsghdr) unix.Errno
	log    []string // "gso", "plain", each with the errno
	waits  int
}

func (f *faulty) kernel() *kernel {
	k := linux()
	k.writable = func(fd int) { f.waits++ }
	k.sendmmsg = func(fd int, m []mmsghdr) (int, unix.Errno) {
		f.mu.Lock()
		defer f.mu.Unlock()
		kind := "plain"
		if isGSO(&m[0]) {
			kind = "gso"
		}
		if errno := f.refuse(&m[0]); errno != 0 {
			f.log = append(f.log, kind+" "+unix.ErrnoName(errno))
			return 0, errno
		}
		f.log = append(f.log, kind)
		return sysSendmmsg(fd, m[:1]) // never more than one: partial counts
	}
	return k
}

// faultyPair returns a sender over a faulty kernel, an honest receiver, and the
// way between them.
func faultyPair(t *testing.T, f *faulty) (a, z *UDP, path *packet.Path) {
	t.Helper()
	a, err := listenUDP(UDPOptions{}, f.kernel())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	a.noGSO.Store(false)
	z = mustListen(t, UDPOptions{})
	return a, z, &packet.Path{Remote: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), z.LocalPort())}
}

// wantArrival sends datagrams of the sizes and expects them all, in order.
func wantArrival(t *testing.T, what string, a, z *UDP, path *packet.Path, sizes ...int) {
	t.Helper()
	b := packet.NewBatch(packet.Room{})
	fill(b, path, 0, sizes...)
	if err := a.Write(b); err != nil {
		t.Fatalf("%s: Write: %v", what, err)
	}
	collect(t, z, len(sizes), func(b *packet.Batch, i, k int) {
		if !bytes.Equal(b.Packet(i), datagram(k, sizes[k])) {
			t.Fatalf("%s: datagram %d is not the one sent", what, k)
		}
	})
}

func TestEIOTurnsSegmentationOffForGood(t *testing.T) {
	f := &faulty{refuse: func(m *mmsghdr) unix.Errno {
		if isGSO(m) {
			return unix.EIO
		}
		return 0
	}}
	a, z, path := faultyPair(t, f)
	wantArrival(t, "the first batch", a, z, path, 100, 100, 100, 30, 30)
	f.log = nil
	wantArrival(t, "the second batch", a, z, path, 100, 100, 100)
	if want := []string{"plain", "plain", "plain"}; !slices.Equal(f.log, want) {
		t.Errorf("after EIO: got %v, want %v", f.log, want)
	}
}

func TestRefusedSizeIsSentPlainAndTriedAgainLater(t *testing.T) {
	for _, errno := range []unix.Errno{unix.EINVAL, unix.EMSGSIZE} {
		small := true
		f := &faulty{}
		f.refuse = func(m *mmsghdr) unix.Errno {
			if small && isGSO(m) {
				return errno
			}
			return 0
		}
		a, z, path := faultyPair(t, f)
		wantArrival(t, "a refused run", a, z, path, 100, 100)
		if want := []string{"gso " + unix.ErrnoName(errno), "plain", "plain"}; !slices.Equal(f.log, want) {
			t.Errorf("got %v, want %v", f.log, want)
		}
		small = false
		f.log = nil
		wantArrival(t, "a held run", a, z, path, 100, 100)
		if slices.Contains(f.log, "gso") {
			t.Errorf("tried again at once: %v", f.log)
		}
		a.holdGSO.Store(0)
		f.log = nil
		wantArrival(t, "a run after the hold", a, z, path, 100, 100)
		if want := []string{"gso"}; !slices.Equal(f.log, want) {
			t.Errorf("after the hold: got %v, want %v", f.log, want)
		}
	}
}

func TestFullSendBufferIsWaitedForOnce(t *testing.T) {
	for _, errno := range []unix.Errno{unix.EAGAIN, unix.ENOBUFS} {
		once := true
		f := &faulty{}
		f.refuse = func(m *mmsghdr) unix.Errno {
			if once {
				once = false
				return errno
			}
			return 0
		}
		a, z, path := faultyPair(t, f)
		wantArrival(t, "after one wait", a, z, path, 10, 20, 30)
		if f.waits != 1 {
			t.Errorf("got %d waits, want 1", f.waits)
		}

		f.refuse = func(m *mmsghdr) unix.Errno { return errno }
		f.waits, f.log = 0, nil
		b := packet.NewBatch(packet.Room{})
		fill(b, path, 0, 10, 20, 30)
		if err := a.Write(b); !errors.Is(err, errno) {
			t.Errorf("got %v, want %v", err, errno)
		}
		if f.waits != 1 || len(f.log) > 6 {
			t.Errorf("%d waits, %v: want one wait and an end", f.waits, f.log)
		}
		if a.Lost() != 3 {
			t.Errorf("%d counted as lost, want 3", a.Lost())
		}
	}
}

func TestNewsAboutAnEarlierDatagramLosesNothing(t *testing.T) {
	for _, errno := range []unix.Errno{unix.ECONNREFUSED, unix.EINTR} {
		n := 0
		f := &faulty{}
		f.refuse = func(m *mmsghdr) unix.Errno {
			if n++; n%2 == 1 {
				return errno
			}
			return 0
		}
		a, z, path := faultyPair(t, f)
		wantArrival(t, errno.Error(), a, z, path, 10, 20, 30)
	}
}

func TestOneFarEndOutOfReachLosesOnlyItsOwn(t *testing.T) {
	f := &faulty{refuse: func(m *mmsghdr) unix.Errno { return 0 }}
	a, z, path := faultyPair(t, f)
	gone := &packet.Path{Remote: netip.MustParseAddrPort("192.0.2.1:9")}
	b := packet.NewBatch(packet.Room{})
	fill(b, path, 0, 10, 11, 12, 13)
	b.SetPath(0, gone)
	b.SetPath(2, gone)
	b.Drop(1)
	err := a.Write(b)
	if !errors.Is(err, unix.ENETUNREACH) || errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v, want %v", err, unix.ENETUNREACH)
	}
	collect(t, z, 1, func(b *packet.Batch, i, _ int) {
		if len(b.Packet(i)) != 13 {
			t.Errorf("got the datagram of %d bytes, want that of 13", len(b.Packet(i)))
		}
	})
	if a.Lost() != 2 {
		t.Errorf("%d counted as lost, want 2", a.Lost())
	}
}

func TestDatagramWithoutAWayIsLost(t *testing.T) {
	a := mustListen(t, UDPOptions{})
	b := packet.NewBatch(packet.Room{})
	fill(b, nil, 0, 10)
	if err := a.Write(b); !errors.Is(err, unix.EDESTADDRREQ) {
		t.Errorf("got %v, want %v", err, unix.EDESTADDRREQ)
	}
}

// The address that a datagram came to has left this host: the kernel chooses.
func TestSourceThatIsNotOursIsForgotten(t *testing.T) {
	for _, c := range []struct{ local, remote string }{{"192.0.2.77", "127.0.0.1"}, {"2001:db8::77", "::1"}} {
		for _, sizes := range [][]int{{10}, {10, 10, 10}} {
			f := &faulty{refuse: func(m *mmsghdr) unix.Errno { return 0 }}
			a, z, _ := faultyPair(t, f)
			path := &packet.Path{Remote: netip.AddrPortFrom(netip.MustParseAddr(c.remote), z.LocalPort()), Local: netip.MustParseAddr(c.local)}
			wantArrival(t, c.local, a, z, path, sizes...)
			f.log = nil
			wantArrival(t, c.local+" again", a, z, path, sizes...)
			if len(f.log) != 1 {
				t.Errorf("%s, %v: not remembered: %v", c.local, sizes, f.log)
			}
		}
	}
}

// A handshake must not fail for its traffic class.
func TestAClassThatIsRefusedIsDoneWithout(t *testing.T) {
	for _, errno := range []unix.Errno{unix.EINVAL, unix.EOPNOTSUPP, unix.ENOPROTOOPT, unix.EPERM} {
		for _, local := range []string{"", "127.0.0.1"} {
			for _, sizes := range [][]int{{148}, {148, 148, 148}} {
				f := &faulty{refuse: func(m *mmsghdr) unix.Errno {
					if has(m, unix.IPPROTO_IP, unix.IP_TOS) {
						return errno
					}
					return 0
				}}
				a, z, path := faultyPair(t, f)
				if local != "" {
					path.Local = netip.MustParseAddr(local)
				}
				b := packet.NewBatch(packet.Room{})
				fill(b, path, 0x88, sizes...)
				if err := a.Write(b); err != nil {
					t.Fatalf("%v: Write: %v", errno, err)
				}
				collect(t, z, len(sizes), func(b *packet.Batch, i, k int) {
					if !bytes.Equal(b.Packet(i), datagram(k, sizes[k])) || b.TOS(i) != 0 {
						t.Fatalf("%v: datagram %d came with class %#x", errno, k, b.TOS(i))
					}
				})
			}
		}
	}
}

func TestReadErrorsOfOtherDatagramsAreNotFinal(t *testing.T) {
	n := 0
	k := linux()
	k.recvmmsg = func(fd int, m []mmsghdr) (int, unix.Errno) {
		if n++; n <= 3 {
			return 0, [...]unix.Errno{unix.ECONNREFUSED, unix.EHOSTUNREACH, unix.EINTR}[n-1]
		}
		return sysRecvmmsg(fd, m)
	}
	z, err := listenUDP(UDPOptions{}, k)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	a := mustListen(t, UDPOptions{})
	wantArrival(t, "after errors", a, z, &packet.Path{Remote: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), z.LocalPort())}, 10)

	for _, errno := range []unix.Errno{unix.EBADF, unix.EIO} { // the second one for ever
		k.recvmmsg = func(fd int, m []mmsghdr) (int, unix.Errno) { return 0, errno }
		if err := z.Read(packet.NewBatch(packet.Room{})); !errors.Is(err, errno) {
			t.Errorf("got %v, want %v", err, errno)
		}
	}
}

func TestKernelWithoutBatchCallsTakesOneAtATime(t *testing.T) {
	k := linux()
	k.recvmmsg, k.sendmmsg = recvOne, sendOne
	a, err := listenUDP(UDPOptions{}, k)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	path := &packet.Path{Remote: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), a.LocalPort())}
	wantArrival(t, "one at a time", a, a, path, 100, 100, 200, 1, 2, 3)
	for _, call := range []func(int, []mmsghdr) (int, unix.Errno){recvOne, sendOne} {
		if n, errno := call(-1, make([]mmsghdr, 1)); n != 0 || errno != unix.EBADF {
			t.Errorf("no descriptor: got %d, %v, want %v", n, errno, unix.EBADF)
		}
	}
}

// fakeReceive makes a receiver see messages of the test's own making.
func fakeReceive(t *testing.T, recv func(m []mmsghdr) int) (*UDP, *packet.Batch) {
	t.Helper()
	k := linux()
	k.recvmmsg = func(fd int, m []mmsghdr) (int, unix.Errno) { return recv(m), 0 }
	u, err := listenUDP(UDPOptions{}, k)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { u.Close() })
	u.in.canGRO, u.in.gro = true, true
	return u, packet.NewBatch(packet.Room{})
}

// put makes m a message of n bytes, with a GRO size unless it is zero.
func put(m *mmsghdr, n int, segment int32) {
	m.n = uint32(n)
	m.hdr.Flags = 0
	m.hdr.SetControllen(0)
	*(*sockaddr)(unsafe.Pointer(m.hdr.Name)) = sockaddr{Family: unix.AF_INET6, Port: htons(7), Addr: netip.MustParseAddr("::1").As16()}
	if segment != 0 {
		d := departure{c: (*control)(unsafe.Pointer(m.hdr.Control))}
		*(*int32)(unsafe.Pointer(unsafe.SliceData(d.put(unix.SOL_UDP, unix.UDP_GRO, 4)))) = segment
		m.hdr.SetControllen(d.n)
	}
}

func TestOddSegmentSizesAreSurvived(t *testing.T) {
	for _, c := range []struct {
		n       int
		segment int32
		want    []int
	}{
		{1000, 0, []int{1000}}, {1000, 1000, []int{1000}}, {1000, 2000, []int{1000}}, {1000, -1, []int{1000}},
		{1000, 600, []int{600, 400}}, {1200, 400, []int{400, 400, 400}}, {70000, 65536, []int{65536}}, {300, 1, same(128, 1)},
	} {
		u, b := fakeReceive(t, func(m []mmsghdr) int { put(&m[0], c.n, c.segment); return 1 })
		if err := u.Read(b); err != nil {
			t.Fatal(err)
		}
		var got []int
		for i := range b.Len() {
			got = append(got, len(b.Packet(i)))
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%d bytes in segments of %d: got %v, want %v", c.n, c.segment, got, c.want)
		}
	}
}

func TestKernelsThatCorruptSegmentsAreKnown(t *testing.T) {
	for release, want := range map[string]bool{
		"6.18.44-fc-v782": false, "7.0": true, "7.0.0-12-generic": true, "7.0.9": true, "7.1.0-rc3": true, "7.1.4": true,
		"7.1.5": false, "7.1.12-arch1": false, "7.2.0": false, "70.0": false, "": false, "x": false, "7": true,
	} {
		if got := brokenGSO(release); got != want {
			t.Errorf("%q: got %v, want %v", release, got, want)
		}
	}
}

func FuzzControlMessagesNeverPanic(f *testing.F) {
	var c control
	d := departure{c: &c}
	d.source(&packet.Path{Local: netip.MustParseAddr("::1")}, true)
	d.tos(0x8a, true)
	d.segment(1452)
	f.Add(c.bytes()[:d.n])
	f.Fuzz(func(t *testing.T, b []byte) {
		var c control
		n := copy(c.bytes(), b)
		parseControl(c.bytes()[:n])
	})
}

// ipv6.disable=1 on the kernel's command line.
func TestWithoutIPv6ThereIsIPv4(t *testing.T) {
	k := linux()
	k.socket = func(family, typ, proto int) (int, error) {
		if family == unix.AF_INET6 {
			return -1, unix.EAFNOSUPPORT
		}
		return unix.Socket(family, typ, proto)
	}
	u, err := listenUDP(UDPOptions{}, k)
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	b := packet.NewBatch(packet.Room{})
	fill(b, &packet.Path{Remote: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), u.LocalPort())}, 1, 5)
	if err := u.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := u.Read(b); err != nil || b.Len() != 1 || !b.Path(0).Remote.Addr().Is4() {
		t.Fatalf("got %d datagrams, %v, want the one from 127.0.0.1", b.Len(), err)
	}
}
