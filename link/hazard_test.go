package link

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"unsafe"

	"adit/packet"
	"golang.org/x/sys/unix"
)

// A notebook is a log that can be read.
type notebook struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (n *notebook) Write(b []byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.text.Write(b)
}

func (n *notebook) logger() *slog.Logger { return slog.New(slog.NewTextHandler(n, nil)) }

func (n *notebook) wantOnce(t *testing.T, word string) {
	t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	if strings.Count(n.text.String(), word) != 1 {
		t.Errorf("the log does not say %q once:\n%s", word, n.text.String())
	}
}

// offloadLog sends two batches over k and returns what they were sent as.
func offloadLog(t *testing.T, k *kernel, o UDPOptions) []string {
	t.Helper()
	f := &faulty{refuse: func(*mmsghdr) unix.Errno { return 0 }}
	send := f.kernel()
	k.sendmmsg, k.writable = send.sendmmsg, send.writable
	a, err := listenUDP(o, k)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	z := mustListen(t, UDPOptions{})
	path := &packet.Path{Remote: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), z.LocalPort())}
	wantArrival(t, "the first batch", a, z, path, 100, 100, 30)
	wantArrival(t, "the second batch", a, z, path, 100, 100, 30)
	return f.log
}

var plainOnly = slices.Repeat([]string{"plain"}, 6)

// https://github.com/tailscale/tailscale/issues/19777
func TestKernelThatCorruptsSegmentsIsGivenNone(t *testing.T) {
	k, n := linux(), &notebook{}
	k.release = func() string { return "7.0.3-generic" }
	if got := offloadLog(t, k, UDPOptions{Logger: n.logger()}); !slices.Equal(got, plainOnly) {
		t.Errorf("got %v, want %v", got, plainOnly)
	}
	n.wantOnce(t, "corrupts UDP segmentation offload")
}

// Linux before 4.18 has no UDP_SEGMENT.
func TestKernelWithoutSegmentationGetsSingleDatagrams(t *testing.T) {
	k, n := linux(), &notebook{}
	k.getsockopt = func(fd, level, opt int) (int, error) {
		if level == unix.SOL_UDP && opt == unix.UDP_SEGMENT {
			return 0, unix.ENOPROTOOPT
		}
		return unix.GetsockoptInt(fd, level, opt)
	}
	if got := offloadLog(t, k, UDPOptions{Logger: n.logger()}); !slices.Equal(got, plainOnly) {
		t.Errorf("got %v, want %v", got, plainOnly)
	}
	n.wantOnce(t, "no UDP segmentation offload")
}

func TestOffloadIsSwitchedOffByHand(t *testing.T) {
	k := linux()
	k.setsockopt = func(fd, level, opt, value int) error {
		t.Errorf("option %d of level %d was set to %d", opt, level, value)
		return nil
	}
	if got := offloadLog(t, k, UDPOptions{DisableOffload: true}); !slices.Equal(got, plainOnly) {
		t.Errorf("got %v, want %v", got, plainOnly)
	}
}

// Linux before 5.0 has no UDP_GRO: everything arrives, in more messages.
func TestKernelWithoutReceiveOffloadDeliversAll(t *testing.T) {
	k := linux()
	k.setsockopt = func(fd, level, opt, value int) error { return unix.ENOPROTOOPT }
	z, err := listenUDP(UDPOptions{}, k)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	if z.in.canGRO || z.in.gro {
		t.Error("UDP_GRO is taken to be on")
	}
	a := mustListen(t, UDPOptions{})
	path := &packet.Path{Remote: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), z.LocalPort())}
	wantArrival(t, "a run", a, z, path, append(same(40, 1452), 77)...)
}

// What is switched off by itself is said, and once.
func TestRefusedSegmentsAreToldOnce(t *testing.T) {
	for errno, word := range map[unix.Errno]string{
		unix.EIO: "does not work here", unix.EINVAL: "was refused", unix.EMSGSIZE: "was refused",
	} {
		n := &notebook{}
		f := &faulty{refuse: func(m *mmsghdr) unix.Errno {
			if isGSO(m) {
				return errno
			}
			return 0
		}}
		a, z, path := faultyPair(t, f)
		a.log = n.logger()
		for range 3 {
			wantArrival(t, errno.Error(), a, z, path, 100, 100, 100)
			a.holdGSO.Store(0)
		}
		n.wantOnce(t, word)
	}
}

// A fakeTUN is an injector whose kernel keeps what it takes.
type fakeTUN struct {
	injector
	refuse func(h packet.VirtioHeader, size int) unix.Errno
	got    [][]byte // what came, super-packets split as the kernel would
	calls  int
	waits  int
}

func newFakeTUN(t *testing.T, link int) *fakeTUN {
	t.Helper()
	fd, err := unix.MemfdCreate("fake", unix.MFD_CLOEXEC) // any descriptor would do
	if err != nil {
		t.Fatal(err)
	}
	f, err := newFile(fd, "fake")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.close() })
	x := &fakeTUN{refuse: func(packet.VirtioHeader, int) unix.Errno { return 0 }}
	k := linux()
	k.writable = func(int) { x.waits++ }
	k.writev = func(_ int, v []unix.Iovec) (int, unix.Errno) {
		var frame []byte
		for _, e := range v {
			frame = append(frame, bytesOf(e)...)
		}
		return len(frame), x.take(t, frame, link)
	}
	x.init(f, k, slog.New(slog.DiscardHandler))
	x.link = link
	for i, typ := range []uint16{etherIPv4, etherIPv6} {
		binary.BigEndian.PutUint16(x.eth[i][12:], typ)
	}
	return x
}

func (x *fakeTUN) take(t *testing.T, frame []byte, link int) unix.Errno {
	x.calls++
	h := packet.ParseVirtioHeader(frame)
	pkt := frame[packet.VirtioHeaderLen+link:]
	if errno := x.refuse(h, len(pkt)); errno != 0 {
		return errno
	}
	h.ChecksumStart -= min(h.ChecksumStart, uint16(link))
	var s packet.Splitter
	if err := s.Start(h, pkt); err != nil {
		t.Errorf("a frame with the header %+v: %v", h, err)
		return 0
	}
	b := packet.NewBatch(packet.Room{})
	for more := true; more; {
		b.Reset()
		more = s.Next(b)
		for i := range b.Len() {
			x.got = append(x.got, bytes.Clone(b.Packet(i)))
		}
	}
	return 0
}

// segments makes a batch of packets of four flows, TCP and UDP of both families,
// each with its number in its payload, and returns copies of them.
func segments(t *testing.T, n int) (*packet.Batch, [][]byte) {
	t.Helper()
	b := packet.NewBatch(packet.Room{})
	var seq [4]uint32
	var want [][]byte
	for i := range n {
		kind := i / 6 % 4
		pkt := segment(kind, seq[kind], 600)
		seq[kind]++
		copy(b.Append(len(pkt)), pkt)
		want = append(want, pkt)
	}
	return b, want
}

// segment returns packet number seq of a flow: 0 and 1 are TCP, 2 and 3 UDP; odd
// ones IPv6.
func segment(kind int, seq uint32, size int) []byte {
	proto, hdr := uint8(packet.ProtoTCP), 20
	if kind >= 2 {
		proto, hdr = packet.ProtoUDP, 8
	}
	payload := bytes.Repeat([]byte{byte(kind), byte(seq)}, size/2)
	ip := 20 + kind%2*20
	pkt := make([]byte, ip+hdr, ip+hdr+size)
	src, dst := netip.MustParseAddr("10.9.0.1"), netip.MustParseAddr("10.9.0.2")
	if kind%2 == 0 {
		pkt[0], pkt[6], pkt[8], pkt[9] = 0x45, 0x40, 64, proto
		binary.BigEndian.PutUint16(pkt[2:], uint16(ip+hdr+size))
		binary.BigEndian.PutUint16(pkt[4:], uint16(seq))
		copy(pkt[12:], src.AsSlice())
		copy(pkt[16:], dst.AsSlice())
		binary.BigEndian.PutUint16(pkt[10:], ^packet.Fold(packet.Sum(0, pkt[:ip])))
	} else {
		src, dst = netip.MustParseAddr("fd09::1"), netip.MustParseAddr("fd09::2")
		pkt[0], pkt[6], pkt[7] = 0x60, proto, 64
		binary.BigEndian.PutUint16(pkt[4:], uint16(hdr+size))
		copy(pkt[8:], src.AsSlice())
		copy(pkt[24:], dst.AsSlice())
	}
	transport, field := pkt[ip:], 6
	binary.BigEndian.PutUint16(transport[0:], uint16(1000+kind))
	binary.BigEndian.PutUint16(transport[2:], 80)
	if proto == packet.ProtoTCP {
		field = 16
		binary.BigEndian.PutUint32(transport[4:], seq*uint32(size))
		transport[12], transport[13] = 5<<4, 1<<4
	} else {
		binary.BigEndian.PutUint16(transport[4:], uint16(hdr+size))
	}
	pkt = append(pkt, payload...)
	sum := ^packet.Fold(packet.Sum(packet.PseudoSum(src, dst, proto, hdr+size), pkt[ip:]))
	binary.BigEndian.PutUint16(pkt[ip+field:], sum)
	return pkt
}

// wantPackets expects the packets, those of each flow in order.
func wantPackets(t *testing.T, what string, x *fakeTUN, want [][]byte) {
	t.Helper()
	if len(x.got) != len(want) {
		t.Fatalf("%s: %d of %d packets arrived", what, len(x.got), len(want))
	}
	flow := func(a, b []byte) int { return int(flowOf(a)) - int(flowOf(b)) }
	got := slices.Clone(x.got)
	slices.SortStableFunc(got, flow)
	slices.SortStableFunc(want, flow)
	for i := range want {
		if !bytes.Equal(got[i], want[i]) {
			t.Fatalf("%s: packet %d is not the one written, or not in its place:\ngot  %x\nwant %x", what, i, got[i][:60], want[i][:60])
		}
	}
}

// flowOf returns the source port of a packet that segment made.
func flowOf(pkt []byte) uint16 {
	if pkt[0]>>4 == 4 {
		return binary.BigEndian.Uint16(pkt[20:])
	}
	return binary.BigEndian.Uint16(pkt[40:])
}

// Linux 6.6.44 and some others find fault with right headers
// (https://github.com/tailscale/tailscale/issues/13041); before 6.2 they do not
// know those of UDP. The packets arrive, in order, the first refusal is the last,
// and is told.
func TestRefusedSuperPacketsAreWrittenAgainInTheirPlace(t *testing.T) {
	for _, link := range []int{0, ethernetLen} {
		for _, errno := range []unix.Errno{unix.EINVAL, unix.EOPNOTSUPP} {
			for _, kinds := range [][]uint8{{packet.VirtioTCPv4, packet.VirtioTCPv6}, {packet.VirtioUDP}, {packet.VirtioTCPv4, packet.VirtioTCPv6, packet.VirtioUDP}} {
				x, n := newFakeTUN(t, link), &notebook{}
				x.log = n.logger()
				refusals := 0
				x.refuse = func(h packet.VirtioHeader, _ int) unix.Errno {
					if slices.Contains(kinds, h.Kind) {
						refusals++
						return errno
					}
					return 0
				}
				b, want := segments(t, 60)
				if err := x.write(b); err != nil {
					t.Fatal(err)
				}
				wantPackets(t, "the first batch", x, want)
				if refusals == 0 {
					t.Fatal("nothing was merged")
				}
				x.got, refusals = nil, 0
				b, want = segments(t, 60)
				x.write(b)
				wantPackets(t, "the second batch", x, want)
				if refusals != 0 {
					t.Errorf("%d super-packets of kinds %v after they were refused", refusals, kinds)
				}
				if lost := x.lost.Load(); lost != 0 {
					t.Errorf("%d counted as lost", lost)
				}
				if slices.Contains(kinds, packet.VirtioUDP) {
					n.wantOnce(t, "protocol=UDP")
				} else {
					n.wantOnce(t, "protocol=TCP")
				}
			}
		}
	}
}

// A queue that is full is waited for once in a batch; after that packets are
// counted and dropped, and nobody spins.
func TestFullDeviceIsWaitedForOnce(t *testing.T) {
	x := newFakeTUN(t, 0)
	x.refuse = func(packet.VirtioHeader, int) unix.Errno {
		if x.waits == 0 {
			return unix.EAGAIN
		}
		return 0
	}
	b, want := segments(t, 60)
	x.write(b)
	wantPackets(t, "after one wait", x, want)
	if x.waits != 1 {
		t.Errorf("got %d waits, want 1", x.waits)
	}
	for _, errno := range []unix.Errno{unix.EAGAIN, unix.ENOBUFS, unix.ENETDOWN, unix.EIO} {
		x.refuse = func(packet.VirtioHeader, int) unix.Errno { return errno }
		x.got, x.calls, x.waits = nil, 0, 0
		x.lost.Store(0)
		b, want = segments(t, 60)
		x.write(b)
		if lost := x.lost.Load(); lost != uint64(len(want)) {
			t.Errorf("%v: %d counted as lost, want %d", errno, lost, len(want))
		}
		if x.waits > 1 || x.calls > len(want)+1 {
			t.Errorf("%v: %d waits, %d calls for %d packets", errno, x.waits, x.calls, len(want))
		}
	}
}

// offloadTUN makes a TUN of the options over k.
func offloadTUN(t *testing.T, s *space, k *kernel, o DeviceOptions) (dev *TUN) {
	t.Helper()
	var skip error
	s.do("make a TUN", func() error {
		f, err := OpenTUN("tun0", o.MTU)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			skip = err
			return nil
		}
		if err != nil {
			return err
		}
		if err := configure("tun0", o.MTU, "10.9.0.1/24"); err != nil {
			return err
		}
		dev, err = newTUN(f, o, k)
		return err
	})
	if skip != nil {
		t.Skip(skip)
	}
	t.Cleanup(func() { dev.Close() })
	return dev
}

// A kernel without USO (before 6.2), and one without any offload, carry
// everything; and so does one that was told to do without.
func TestDeviceWithoutOffloadsCarriesAll(t *testing.T) {
	refuses := func(flags int) *kernel {
		k := linux()
		k.setOffload = func(fd, f int) error {
			if f&flags != 0 {
				return unix.EINVAL
			}
			return sysSetOffload(fd, f)
		}
		return k
	}
	for _, c := range []struct {
		name     string
		sys      *kernel
		o        DeviceOptions
		tcp, udp bool
	}{
		{"without USO", refuses(tunUSO), DeviceOptions{}, true, false},
		{"without any", refuses(tunUSO | tunOffloads), DeviceOptions{}, false, false},
		{"by hand", linux(), DeviceOptions{DisableOffload: true}, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, z := newSpace(t), newSpace(t)
			var supers atomic.Int64
			c.sys.read = func(fd int, p []byte) (int, unix.Errno) {
				n, errno := sysRead(fd, p)
				if errno == 0 && n > 1 && p[1] != packet.VirtioNone {
					supers.Add(1)
				}
				return n, errno
			}
			c.o.MTU = testMTU
			n := &notebook{}
			c.o.Logger = n.logger()
			dev := offloadTUN(t, a, c.sys, c.o)
			if c.name == "without any" {
				n.wantOnce(t, "no segmentation offload")
				linux().setOffload(fdOf(t, dev.file), 0)
			}
			if got := [2]bool{!dev.out.noTCP.Load(), !dev.out.noUDP.Load()}; got != [2]bool{c.tcp, c.udp} {
				t.Errorf("merges TCP and UDP: got %v, want %v", got, [2]bool{c.tcp, c.udp})
			}
			relay(t, dev, z.tun(linux(), testMTU, "10.9.0.2/24"))
			transfer(t, a, z, "10.9.0.2", 3<<20)
			transfer(t, z, a, "10.9.0.1", 3<<20)
			exchangeUDP(t, a, z, "10.9.0.2")
			if got := supers.Load() > 0; got != c.tcp {
				t.Errorf("%d super-packets came", supers.Load())
			}
		})
	}
}

func fdOf(t *testing.T, f *file) (fd int) {
	t.Helper()
	if err := f.control(func(n uintptr) { fd = int(n) }); err != nil {
		t.Fatal(err)
	}
	return fd
}

// Whatever a kernel claims about a message, what is delivered is
// the message's bytes, each once and in order.
func FuzzSegmentsOfAMessageAreAllOfIt(f *testing.F) {
	f.Add(3000, int32(1000))
	f.Add(65536, int32(-5))
	f.Add(100, int32(1))
	u, err := listenUDP(UDPOptions{}, linux())
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { u.Close() })
	b := packet.NewBatch(packet.Room{})
	f.Fuzz(func(t *testing.T, n int, segment int32) {
		n = int(uint(n) % (bigSlot + 5000))
		k := linux()
		k.recvmmsg = func(fd int, m []mmsghdr) (int, unix.Errno) {
			put(&m[0], max(n, 1), segment)
			return 1, 0
		}
		u.sys = k
		u.in.canGRO, u.in.gro = true, true
		if err := u.Read(b); err != nil {
			t.Fatal(err)
		}
		at := 0
		for i := range b.Len() {
			if b.Offset(i) != at || len(b.Packet(i)) == 0 {
				t.Fatalf("datagram %d lies at %d, want %d", i, b.Offset(i), at)
			}
			at += len(b.Packet(i))
		}
		if want := min(max(n, 1), bigSlot); at != want && b.Len() < packet.MaxPackets {
			t.Fatalf("%d bytes in segments of %d: %d were delivered", want, segment, at)
		}
	})
}

// bytesOf returns what an iovec covers.
func bytesOf(v unix.Iovec) []byte { return unsafe.Slice(v.Base, v.Len) }
