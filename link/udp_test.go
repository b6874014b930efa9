package link

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"

	"adit/packet"
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
func fill(b *packet.Batch, path *packet.Path, ecn uint8, sizes ...int) {
	b.Reset()
	for i, n := range sizes {
		copy(b.Append(n), datagram(i, n))
		b.SetPath(i, path)
		b.SetECN(i, ecn)
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
		for _, o := range []UDPOptions{{}, {DisableGSO: true}, {DisableGRO: true}} {
			t.Run(fmt.Sprintf("%s/gso=%v,gro=%v", to, !o.DisableGSO, !o.DisableGRO), func(t *testing.T) {
				a, z := mustListen(t, o), mustListen(t, o)
				dst := netip.MustParseAddr(to)
				if dst.Is6() && !a.v6 {
					t.Skip("no IPv6 here")
				}
				path := &packet.Path{Remote: netip.AddrPortFrom(dst, z.LocalPort())}
				out := packet.NewBatch(packet.Room{})
				for ecn, s := range sizes {
					ecn := uint8(ecn % 4)
					fill(out, path, ecn, s...)
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
						if b.ECN(i) != ecn {
							t.Fatalf("ECN: got %d, want %d", b.ECN(i), ecn)
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
