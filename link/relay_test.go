package link

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"adit/packet"
	"golang.org/x/sys/unix"
)

// A tally counts what passes between this package and the kernel.
type tally struct {
	supersIn, supersOut, singlesIn, singlesOut atomic.Int64
}

// counting returns the real kernel with a tally of its super-packets.
func counting(c *tally) *kernel {
	k := linux()
	k.read = func(fd int, p []byte) (int, unix.Errno) {
		n, errno := sysRead(fd, p)
		if errno == 0 && n > packet.VirtioHeaderLen {
			if p[1] != packet.VirtioNone {
				c.supersIn.Add(1)
			} else {
				c.singlesIn.Add(1)
			}
		}
		return n, errno
	}
	k.writev = func(fd int, v []unix.Iovec) (int, unix.Errno) {
		if len(v) > 2 {
			c.supersOut.Add(1)
		} else {
			c.singlesOut.Add(1)
		}
		return sysWritev(fd, v)
	}
	return k
}

// relay carries packets between two devices until they are closed.
func relay(t testing.TB, a, z packet.Device) {
	var wg sync.WaitGroup
	pump := func(from, to packet.Device) {
		b := packet.NewBatch(packet.Room{Head: 16, Tail: 16, Align: 16, MTU: from.MTU()})
		for {
			if err := from.Read(b); err != nil {
				if !errors.Is(err, net.ErrClosed) {
					t.Errorf("Read: %v", err)
				}
				return
			}
			for i := range b.Len() {
				if n := len(b.Packet(i)); n > from.MTU() {
					t.Errorf("a packet of %d bytes, the MTU is %d", n, from.MTU())
				}
			}
			if err := to.Write(b); err != nil && !errors.Is(err, net.ErrClosed) {
				t.Errorf("Write: %v", err)
			}
		}
	}
	wg.Go(func() { pump(a, z) })
	wg.Go(func() { pump(z, a) })
	t.Cleanup(func() { a.Close(); z.Close(); wg.Wait() })
}

// device makes one of the two kinds of device in a space.
type deviceMaker struct {
	name string
	make func(s *space, sys *kernel, addrs ...string) packet.Device
}

const testMTU = 1420

var deviceMakers = []deviceMaker{
	{"tun", func(s *space, sys *kernel, addrs ...string) packet.Device { return s.tun(sys, testMTU, addrs...) }},
	{"veth", func(s *space, sys *kernel, addrs ...string) packet.Device { return s.veth(sys, testMTU, addrs...) }},
	{"veth without ring", func(s *space, sys *kernel, addrs ...string) packet.Device {
		v := s.veth(sys, testMTU, addrs...)
		if err := withoutRing(v); err != nil {
			s.t.Fatal(err)
		}
		return v
	}},
}

// withoutRing makes a device whose socket got no ring.
func withoutRing(v *Veth) error {
	if v.ring == nil {
		return nil
	}
	v.ring.close() // a mapped ring is busy
	v.ring = nil
	var err error
	v.file.conn.Control(func(fd uintptr) {
		req := unix.TpacketReq{}
		if _, _, errno := unix.Syscall6(unix.SYS_SETSOCKOPT, fd, unix.SOL_PACKET, unix.PACKET_RX_RING, uintptr(unsafe.Pointer(&req)), 16, 0); errno != 0 {
			err = errno
		}
	})
	v.in.fill, v.in.buf = v.in.readAll, make([]byte, maxRead)
	return err
}

// TestKernelTCPThroughTwoDevices:
//
//	+------ space a ------+        +------ space z ------+
//	| TCP ─ 10.9.0.1 tun0 ├─ Read ─ Write ─┤ tun0 10.9.0.2 ─ TCP |
//	+---------------------+        +---------------------+
func TestKernelTCPThroughTwoDevices(t *testing.T) {
	for _, m := range deviceMakers {
		for _, ends := range [][2]string{{"10.9.0.1", "10.9.0.2"}, {"fd09::1", "fd09::2"}} {
			t.Run(m.name+"/"+ends[1], func(t *testing.T) {
				a, z := newSpace(t), newSpace(t)
				var ca, cz tally
				relay(t, m.make(a, counting(&ca), ownAddr(ends[0], m)), m.make(z, counting(&cz), ownAddr(ends[1], m)))
				const total = 30 << 20
				transfer(t, a, z, ends[1], total)
				transfer(t, z, a, ends[0], total)
				t.Logf("a: %d super-packets and %d packets read, %d and %d written; z: %d and %d, %d and %d",
					ca.supersIn.Load(), ca.singlesIn.Load(), ca.supersOut.Load(), ca.singlesOut.Load(),
					cz.supersIn.Load(), cz.singlesIn.Load(), cz.supersOut.Load(), cz.singlesOut.Load())
				if n := cz.supersOut.Load(); n == 0 || n > total/10000 {
					t.Errorf("%d bytes were written in %d super-packets: want some, of 10000 bytes and more on average", total, n)
				}
			})
		}
	}
}

// ownAddr adds the prefix that makes the other end reachable: on a TUN by the
// prefix, on a veth by the default route alone.
func ownAddr(addr string, m deviceMaker) string {
	a := netip.MustParseAddr(addr)
	if m.name != "tun" {
		return netip.PrefixFrom(a, a.BitLen()).String()
	}
	return netip.PrefixFrom(a, a.BitLen()-8).String()
}

// transfer sends n random bytes by TCP and compares their hash.
func transfer(t *testing.T, from, to *space, addr string, n int64) {
	t.Helper()
	var l net.Listener
	to.do("listen", func() (err error) {
		l, err = net.Listen("tcp", net.JoinHostPort(addr, "0"))
		return err
	})
	defer l.Close()
	deadline := time.Now().Add(30 * time.Second)
	type result struct {
		sum [32]byte
		n   int64
		err error
	}
	got := make(chan result, 1)
	go func() {
		var r result
		defer func() { got <- r }()
		var c net.Conn
		if c, r.err = l.Accept(); r.err != nil {
			return
		}
		defer c.Close()
		c.SetDeadline(deadline)
		h := sha256.New()
		r.n, r.err = io.Copy(h, c)
		r.sum = [32]byte(h.Sum(nil))
	}()
	var c net.Conn
	from.do("dial", func() (err error) {
		c, err = (&net.Dialer{Deadline: deadline}).Dial("tcp", l.Addr().String())
		return err
	})
	defer c.Close()
	c.SetDeadline(deadline)
	h := sha256.New()
	var seed [32]byte
	start := time.Now()
	if _, err := io.CopyN(io.MultiWriter(h, c), rand.NewChaCha8(seed), n); err != nil {
		t.Fatalf("send: %v", err)
	}
	c.(*net.TCPConn).CloseWrite()
	r := <-got
	if r.err != nil || r.n != n || r.sum != [32]byte(h.Sum(nil)) {
		t.Fatalf("%d of %d bytes arrived, equal: %v, error %v", r.n, n, r.sum == [32]byte(h.Sum(nil)), r.err)
	}
	t.Logf("%d MiB in %v", n>>20, time.Since(start).Round(time.Millisecond))
}

// Programs that use UDP_SEGMENT, as QUIC ones do, send super-packets of UDP.
func TestKernelUDPThroughTwoDevices(t *testing.T) {
	for _, m := range deviceMakers {
		for _, ends := range [][2]string{{"10.9.0.1", "10.9.0.2"}, {"fd09::1", "fd09::2"}} {
			t.Run(m.name+"/"+ends[1], func(t *testing.T) {
				a, z := newSpace(t), newSpace(t)
				var ca, cz tally
				relay(t, m.make(a, counting(&ca), ownAddr(ends[0], m)), m.make(z, counting(&cz), ownAddr(ends[1], m)))
				exchangeUDP(t, a, z, ends[1])
			})
		}
	}
}

func exchangeUDP(t *testing.T, a, z *space, addr string) {
	var from, to *UDP
	a.do("listen", func() (err error) { from, err = ListenUDP(UDPOptions{}); return err })
	z.do("listen", func() (err error) { to, err = ListenUDP(UDPOptions{}); return err })
	t.Cleanup(func() { from.Close(); to.Close() })
	from.noGSO.Store(false)
	path := &packet.Path{Remote: netip.AddrPortFrom(netip.MustParseAddr(addr), to.LocalPort())}
	b := packet.NewBatch(packet.Room{})
	reach(t, from, to, path)
	for round, sizes := range [][]int{{4000}, same(40, 1200), append(same(20, 1200), 7), {1, 1300, 64, 1300}} {
		tos := 0x88 | uint8(round) // the whole class goes through, and back
		fill(b, path, tos, sizes...)
		if err := from.Write(b); err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(10*time.Second, func() { to.Close() }) // ends a test that lost something
		collect(t, to, len(sizes), func(b *packet.Batch, i, k int) {
			if got, want := b.Packet(i), datagram(k, sizes[k]); !bytes.Equal(got, want) {
				t.Fatalf("round %d, datagram %d: got %d bytes, want %d", round, k, len(got), len(want))
			}
			if b.TOS(i) != tos {
				t.Fatalf("round %d: got traffic class %#x, want %#x", round, b.TOS(i), tos)
			}
		})
	}
}

// reach sends until something arrives: a kernel needs a moment before it takes
// packets for an address it was just given.
func reach(t *testing.T, from, to *UDP, path *packet.Path) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	arrived, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		b := packet.NewBatch(packet.Room{})
		for n := 0; n < 500; n++ {
			fill(b, path, 0, 1)
			from.Write(b)
			select {
			case <-arrived:
				fill(b, path, 0, 2) // behind all the others
				from.Write(b)
				return
			case <-tick.C:
			}
		}
		to.Close()
	}()
	b := packet.NewBatch(packet.Room{})
	for first, last := true, false; !last; first = false {
		if err := to.Read(b); err != nil {
			t.Fatalf("nothing arrives: %v", err)
		}
		if first {
			close(arrived)
		}
		for i := range b.Len() {
			last = last || len(b.Packet(i)) == 2
		}
	}
	<-stopped
}

func TestKernelThatRefusesSuperPacketsGetsSingleOnes(t *testing.T) {
	a, z := newSpace(t), newSpace(t)
	strict := linux()
	var refusals atomic.Int64
	strict.writev = func(fd int, v []unix.Iovec) (int, unix.Errno) {
		if len(v) > 2 {
			refusals.Add(1)
			return 0, unix.EINVAL
		}
		return sysWritev(fd, v)
	}
	relay(t, a.tun(linux(), testMTU, "10.9.0.1/24"), z.tun(strict, testMTU, "10.9.0.2/24"))
	transfer(t, a, z, "10.9.0.2", 3<<20)
	exchangeUDP(t, a, z, "10.9.0.2")
	if n := refusals.Load(); n == 0 || n > 8 {
		t.Errorf("got %d refusals, want a few, those of one batch each for TCP and UDP", n)
	}
}

func TestDeviceReadEndsWithClose(t *testing.T) {
	for _, m := range deviceMakers {
		t.Run(m.name, func(t *testing.T) {
			dev := m.make(newSpace(t), linux(), "10.9.0.1/24")
			done := make(chan error)
			go func() {
				b := packet.NewBatch(packet.Room{})
				for {
					if err := dev.Read(b); err != nil {
						done <- err
						return
					}
				}
			}()
			if err := dev.Close(); err != nil {
				t.Error(err)
			}
			if err := <-done; !errors.Is(err, net.ErrClosed) {
				t.Errorf("Read: got %v, want net.ErrClosed", err)
			}
			b := packet.NewBatch(packet.Room{})
			copy(b.Append(20), "\x45")
			if err := dev.Write(b); !errors.Is(err, net.ErrClosed) {
				t.Errorf("Write: got %v, want net.ErrClosed", err)
			}
			if err := dev.Close(); err != nil {
				t.Errorf("second Close: %v", err)
			}
		})
	}
}

// What is no IP packet, or too large, or comes after the device went down, is
// lost and no error.
func TestDeviceWriteLosesWhatTheKernelRefuses(t *testing.T) {
	for _, m := range deviceMakers {
		t.Run(m.name, func(t *testing.T) {
			s := newSpace(t)
			dev := m.make(s, linux(), "10.9.0.1/24")
			b := packet.NewBatch(packet.Room{})
			b.Append(1)[0] = 0
			big := b.Append(65535)
			clear(big)
			big[0] = 0x45
			binary.BigEndian.PutUint16(big[2:], 65535)
			b.Append(0)
			if err := dev.Write(b); err != nil {
				t.Error(err)
			}
			name := map[bool]string{true: "tun0", false: "veth1"}[m.name == "tun"]
			s.do("set down", func() error { return linkDown(name) })
			for range 3 {
				if err := dev.Write(b); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func TestFileThatIsNoTUNIsRefused(t *testing.T) {
	p := mustListen(t, UDPOptions{})
	if _, err := NewTUN(p.file.f, DeviceOptions{MTU: 1420}); err == nil {
		t.Error("a UDP socket was taken for a TUN")
	}
	if _, err := NewVeth(p.file.f, appMAC, gatewayMAC, DeviceOptions{MTU: 1420}); err == nil {
		t.Error("a UDP socket was taken for a packet socket")
	}
	if _, err := OpenTUN("tun0", 20); err == nil {
		t.Error("an MTU of 20 was accepted")
	}
	if _, err := OpenTUN(fmt.Sprintf("%020d", 1), 1420); err == nil {
		t.Error("a name of 20 characters was accepted")
	}
}

// BenchmarkRelay is one TCP stream between two namespaces, both ends of the path
// in this process: what a tunnel costs without its cryptography and its network.
func BenchmarkRelay(b *testing.B) {
	for _, m := range deviceMakers {
		b.Run(m.name, func(b *testing.B) {
			a, z := newSpace(b), newSpace(b)
			relay(b, m.make(a, linux(), ownAddr("10.9.0.1", m)), m.make(z, linux(), ownAddr("10.9.0.2", m)))
			var l net.Listener
			z.do("listen", func() (err error) { l, err = net.Listen("tcp", "10.9.0.2:0"); return err })
			defer l.Close()
			var c net.Conn
			a.do("dial", func() (err error) { c, err = net.DialTimeout("tcp", l.Addr().String(), 10*time.Second); return err })
			defer c.Close()
			far, err := l.Accept()
			if err != nil {
				b.Fatal(err)
			}
			defer far.Close()
			const chunk = 1 << 20
			out, in := make([]byte, chunk), make([]byte, chunk)
			b.SetBytes(chunk)
			for b.Loop() {
				go c.Write(out)
				if _, err := io.ReadFull(far, in); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
