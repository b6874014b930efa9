package link

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"

	"adit/packet"
	"golang.org/x/sys/unix"
)

func mustListen(t testing.TB, o UDPOptions) *UDP {
	t.Helper()
	u, err := ListenUDP(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { u.Close() })
	return u
}

// datagram returns a datagram of n bytes that can be told from others.
func datagram(i, n int) []byte {
	return bytes.Repeat([]byte{byte(i), byte(i >> 8), byte(n)}, n/3+1)[:n]
}

// fill puts datagrams of the given sizes into b, without a gap where the room
// asks for none.
func fill(b *packet.Batch, path *packet.Path, tos uint8, sizes ...int) {
	b.Reset()
	for i, n := range sizes {
		copy(b.Append(n), datagram(i, n))
		b.SetPath(i, path)
		b.SetTOS(i, tos)
	}
}

// collect reads until n datagrams have come.
func collect(t testing.TB, u *UDP, n int, each func(b *packet.Batch, i, k int)) {
	t.Helper()
	b := packet.NewBatch(packet.Room{})
	for k := 0; k < n; {
		if err := u.Read(b); err != nil {
			t.Fatalf("after %d of %d datagrams: %v", k, n, err)
		}
		for i := range b.Len() {
			if len(b.Packet(i)) > 0 {
				each(b, i, k)
				k++
			}
		}
	}
}

func same(n, size int) []int {
	s := make([]int, n)
	for i := range s {
		s[i] = size
	}
	return s
}

func TestDatagramsArriveAsTheyWereSent(t *testing.T) {
	sizes := [][]int{
		{1}, {148}, same(45, 1452), append(same(44, 1452), 100), same(128, 96), {100, 100, 200, 200, 50, 50, 1}, {1, 2, 3, 2, 1},
	}
	for _, to := range []string{"127.0.0.1", "127.0.0.2", "::1"} {
		for _, o := range []UDPOptions{{}, {DisableOffload: true}, {Addr: netip.IPv4Unspecified()}} {
			dst := netip.MustParseAddr(to)
			if dst.Is6() && o.Addr.Is4() {
				continue
			}
			t.Run(fmt.Sprintf("%s/offload=%v,%v", to, !o.DisableOffload, o.Addr), func(t *testing.T) {
				a, z := mustListen(t, o), mustListen(t, o)
				if dst.Is6() && !a.v6 {
					t.Skip("no IPv6 here")
				}
				path := &packet.Path{Remote: netip.AddrPortFrom(dst, z.LocalPort())}
				out := packet.NewBatch(packet.Room{})
				for n, s := range sizes {
					tos := []uint8{0, 0x88, 1, 2, 3, 0x8a, 0xb8}[n] // data, handshake, marks, and what others set
					fill(out, path, tos, s...)
					if err := a.Write(out); err != nil {
						t.Fatal(err)
					}
					collect(t, z, len(s), func(b *packet.Batch, i, k int) {
						if got, want := b.Packet(i), datagram(k, s[k]); !bytes.Equal(got, want) {
							t.Fatalf("datagram %d of %v: got %d bytes %x, want %d bytes %x", k, s, len(got), got[:min(4, len(got))], len(want), want[:min(4, len(want))])
						}
						p := b.Path(i)
						if p.Local != dst || p.Remote.Port() != a.LocalPort() || p.IfIndex != 0 {
							t.Fatalf("path: got %+v, want local %v, remote port %d", p, dst, a.LocalPort())
						}
						if b.TOS(i) != tos {
							t.Fatalf("traffic class: got %#x, want %#x", b.TOS(i), tos)
						}
					})
				}
				if a.lost.Load()+z.lost.Load() != 0 {
					t.Errorf("%d datagrams lost", a.lost.Load()+z.lost.Load())
				}
			})
		}
	}
}

// A run of one size and way, of which some are handshakes and some are marked,
// must not leave as one message: the class is the message's.
func TestADatagramKeepsItsTrafficClassAmongOthers(t *testing.T) {
	for _, to := range []string{"127.0.0.1", "::1"} {
		dst := netip.MustParseAddr(to)
		a, z := mustListen(t, UDPOptions{}), mustListen(t, UDPOptions{})
		if dst.Is6() && !a.v6 {
			continue // no IPv6 here
		}
		classes := []uint8{0x88, 0, 0, 2, 2, 2, 0x88, 0x88, 3, 0}
		b := packet.NewBatch(packet.Room{})
		fill(b, &packet.Path{Remote: netip.AddrPortFrom(dst, z.LocalPort())}, 0, same(len(classes), 148)...)
		for i, tos := range classes {
			b.SetTOS(i, tos)
		}
		if err := a.Write(b); err != nil {
			t.Fatal(err)
		}
		collect(t, z, len(classes), func(b *packet.Batch, i, k int) {
			if !bytes.Equal(b.Packet(i), datagram(k, 148)) || b.TOS(i) != classes[k] {
				t.Errorf("%s: datagram %d came with class %#x, want %#x", to, k, b.TOS(i), classes[k])
			}
		})
	}
}

func TestCloseEndsAWaitingRead(t *testing.T) {
	u := mustListen(t, UDPOptions{})
	done := make(chan error)
	go func() { done <- u.Read(packet.NewBatch(packet.Room{})) }()
	u.Close()
	if err := <-done; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Read: got %v, want net.ErrClosed", err)
	}
	b := packet.NewBatch(packet.Room{})
	fill(b, &packet.Path{Remote: netip.MustParseAddrPort("127.0.0.1:9")}, 0, 1)
	if err := u.Write(b); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Write: got %v, want net.ErrClosed", err)
	}
	if err := u.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
}

// Merged datagrams came to one address, but one read may bring runs to several:
// each keeps its own, and the answers leave from there. wireguard-go forgets it
// where it splits what UDP_GRO merged; Linux knows it for each packet.
func TestRunsToSeveralAddressesAreAnsweredFromEach(t *testing.T) {
	a, z := mustListen(t, UDPOptions{}), mustListen(t, UDPOptions{})
	asked := []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.0.0.2"), netip.MustParseAddr("127.9.9.9")}
	const run = 10 // datagrams to each, that may travel as one
	out := packet.NewBatch(packet.Room{})
	fill(out, nil, 0, same(run*len(asked), 1000)...)
	for i := range out.Len() {
		out.SetPath(i, &packet.Path{Remote: netip.AddrPortFrom(asked[i/run], z.LocalPort())})
	}
	if err := a.Write(out); err != nil {
		t.Fatal(err)
	}
	back := packet.NewBatch(packet.Room{})
	reads := 0
	for k := 0; k < run*len(asked); reads++ {
		in := packet.NewBatch(packet.Room{})
		if err := z.Read(in); err != nil {
			t.Fatal(err)
		}
		for i := range in.Len() {
			if got := in.Path(i).Local; got != asked[k/run] {
				t.Fatalf("datagram %d came to %v, want %v", k, got, asked[k/run])
			}
			copy(back.Append(1000), in.Packet(i))
			back.SetPath(back.Len()-1, in.Path(i))
			k++
		}
	}
	if reads >= run*len(asked) {
		t.Log("every datagram came by itself: UDP_GRO was not tried")
	}
	if err := z.Write(back); err != nil {
		t.Fatal(err)
	}
	collect(t, a, run*len(asked), func(b *packet.Batch, i, k int) {
		if got := b.Path(i).Remote.Addr(); got != asked[k/run] {
			t.Fatalf("answer %d came from %v, want %v", k, got, asked[k/run])
		}
	})
}

func TestAnswerLeavesFromTheAddressThatWasAsked(t *testing.T) {
	for _, o := range []UDPOptions{{}, {Addr: netip.IPv4Unspecified()}} {
		for _, asked := range []string{"127.0.0.1", "127.0.0.2", "127.9.9.9", "::1"} {
			dst := netip.MustParseAddr(asked)
			if dst.Is6() && o.Addr.Is4() {
				continue
			}
			a, z := mustListen(t, o), mustListen(t, o)
			b := packet.NewBatch(packet.Room{})
			fill(b, &packet.Path{Remote: netip.AddrPortFrom(dst, z.LocalPort())}, 0, 9)
			if err := a.Write(b); err != nil {
				t.Fatal(err)
			}
			collect(t, z, 1, func(b *packet.Batch, i, _ int) {
				answer := packet.NewBatch(packet.Room{})
				fill(answer, b.Path(i), 0, 7, 7, 7)
				if err := z.Write(answer); err != nil {
					t.Fatal(err)
				}
			})
			collect(t, a, 3, func(b *packet.Batch, i, _ int) {
				if got := b.Path(i).Remote; got != netip.AddrPortFrom(dst, z.LocalPort()) {
					t.Errorf("%v asked, %v answered", dst, got)
				}
			})
		}
	}
}

func TestSameWayGivesTheSamePath(t *testing.T) {
	a, c, z := mustListen(t, UDPOptions{}), mustListen(t, UDPOptions{}), mustListen(t, UDPOptions{})
	b := packet.NewBatch(packet.Room{})
	path := &packet.Path{Remote: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), z.LocalPort())}
	seen := make(map[netip.AddrPort]*packet.Path)
	for _, from := range []*UDP{a, c, a, c} {
		fill(b, path, 0, 10)
		if err := from.Write(b); err != nil {
			t.Fatal(err)
		}
		collect(t, z, 1, func(b *packet.Batch, i, _ int) {
			p := b.Path(i)
			if p.Remote.Port() != from.LocalPort() {
				t.Fatalf("got port %d, want %d", p.Remote.Port(), from.LocalPort())
			}
			if was := seen[p.Remote]; was != nil && !was.Equal(p) {
				t.Errorf("got %+v after %+v", p, was)
			}
			seen[p.Remote] = p
		})
	}
}

func TestTakenPortFallsBackOnlyIfAllowed(t *testing.T) {
	u := mustListen(t, UDPOptions{})
	if _, err := ListenUDP(UDPOptions{Port: u.LocalPort()}); err == nil {
		t.Error("a taken port was accepted")
	}
	other := mustListen(t, UDPOptions{Port: u.LocalPort(), FallbackPort: true})
	if other.LocalPort() == u.LocalPort() || other.LocalPort() == 0 {
		t.Errorf("got port %d, want another than %d", other.LocalPort(), u.LocalPort())
	}
}

func TestIPv4SocketDoesNotSendIPv6(t *testing.T) {
	u := mustListen(t, UDPOptions{Addr: netip.MustParseAddr("127.0.0.1")})
	b := packet.NewBatch(packet.Room{})
	fill(b, &packet.Path{Remote: netip.MustParseAddrPort("[::1]:9")}, 0, 5)
	if err := u.Write(b); !errors.Is(err, unix.EAFNOSUPPORT) {
		t.Errorf("got %v, want %v", err, unix.EAFNOSUPPORT)
	}
}

func BenchmarkUDPGSO(b *testing.B) {
	for _, o := range []UDPOptions{{}, {DisableOffload: true}} {
		b.Run(fmt.Sprintf("offload=%v", !o.DisableOffload), func(b *testing.B) {
			a, z := mustListen(b, o), mustListen(b, o)
			out, in := packet.NewBatch(packet.Room{}), packet.NewBatch(packet.Room{})
			fill(out, &packet.Path{Remote: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), z.LocalPort())}, 0, same(45, 1452)...)
			b.SetBytes(45 * 1452)
			b.ReportAllocs()
			for b.Loop() {
				if err := a.Write(out); err != nil {
					b.Fatal(err)
				}
				for got := 0; got < 45; got += in.Len() {
					if err := z.Read(in); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

// A gateway's peers all send at once: each has its Path, which is made once.
func TestWaysOfAThousandPeersAreRemembered(t *testing.T) {
	const peers = 1000
	var known arrivals
	all := make([]arrival, peers)
	for i := range all {
		all[i].from = sockaddr{Family: unix.AF_INET6, Port: htons(uint16(1000 + i%7)), Addr: [16]byte{10: 0xff, 11: 0xff, 12: 192, 13: 0, 14: byte(i >> 8), 15: byte(i)}}
	}
	round := func() {
		for i := range all {
			want := netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, byte(i >> 8), byte(i)}), uint16(1000+i%7))
			p := known.path(&all[i])
			if p.Remote != want {
				t.Fatalf("got %v, want %v", p.Remote, want)
			}
			if p != known.path(&all[i]) {
				t.Fatalf("%v has two Paths", want)
			}
		}
	}
	for range 20 {
		round()
	}
	if n := testing.AllocsPerRun(10, round); n > peers/50 {
		t.Errorf("a datagram of each of %d peers: %v allocations, want %d at most", peers, n, peers/50)
	}
	if n := len(known.rows) * waysInRow; n > maxWays {
		t.Errorf("%d places, want %d at most", n, maxWays)
	}
}

// Whoever sends from everywhere cannot make the memory of ways grow for ever.
func TestWaysAreForgotten(t *testing.T) {
	var known arrivals
	var a arrival
	for i := range 200000 {
		a.from = sockaddr{Family: unix.AF_INET6, Addr: [16]byte{0x20, 1, 12: byte(i >> 24), 13: byte(i >> 16), 14: byte(i >> 8), 15: byte(i)}}
		known.path(&a)
	}
	if n := len(known.rows) * waysInRow; n != maxWays {
		t.Errorf("got %d places, want %d", n, maxWays)
	}
}

// Who is on our link can send from as many link-local addresses as he likes: the
// kernel is not asked for the name of the link for each.
func TestLinkLocalStrangersAreNoWork(t *testing.T) {
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	strangers := func(first [2]byte) float64 {
		var known arrivals
		var a arrival
		n := 0
		return testing.AllocsPerRun(2000, func() {
			n++
			a.ifIndex = uint32(lo.Index)
			a.from = sockaddr{Family: unix.AF_INET6, Scope_id: a.ifIndex, Addr: [16]byte{first[0], first[1], 14: byte(n >> 8), 15: byte(n)}}
			if p := known.path(&a); p.Remote.Addr().IsLinkLocalUnicast() && p.Remote.Addr().Zone() != lo.Name {
				t.Fatalf("%v: want the zone %s", p.Remote, lo.Name)
			}
		})
	}
	global, local := strangers([2]byte{0x20, 1}), strangers([2]byte{0xfe, 0x80})
	if local > global+2 {
		t.Errorf("%v allocations for a datagram of a link-local stranger, and %v for another", local, global)
	}
}
