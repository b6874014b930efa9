package link

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"adit/packet"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func TestPathMTUIsThatOfTheRoute(t *testing.T) {
	s := newSpace(t)
	s.wire("192.0.2.1/24", "2001:db8::1/64")
	s.do("add a route", func() error {
		l, err := netlink.LinkByName("wire0")
		if err != nil {
			return err
		}
		_, dst, _ := net.ParseCIDR("198.51.100.0/24")
		return netlink.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Dst: dst, MTU: 1333})
	})
	for addr, want := range map[string]int{
		"192.0.2.9:51820": 1400, "[2001:db8::9]:51820": 1400, "198.51.100.1:1": 1333, "[::ffff:192.0.2.9]:1": 1400,
	} {
		var got int
		s.do("ask", func() (err error) { got, err = PathMTU(netip.MustParseAddrPort(addr)); return err })
		if got != want {
			t.Errorf("%s: got %d, want %d", addr, got, want)
		}
	}
	s.do("ask without route", func() error {
		if _, err := PathMTU(netip.MustParseAddrPort("203.0.113.1:1")); !errors.Is(err, unix.ENETUNREACH) {
			t.Errorf("got %v, want %v", err, unix.ENETUNREACH)
		}
		return nil
	})
}

func TestChangesOfTheNetworkAreToldOnceEach(t *testing.T) {
	for !changesAreToldOnceEach(t) {
		t.Log("three addresses took longer than one waits for the next: once more")
	}
}

// changesAreToldOnceEach reports false if it has found nothing out: this host was too
// slow to make three changes at once.
func changesAreToldOnceEach(t *testing.T) bool {
	s := newSpace(t)
	s.wire()
	ctx, cancel := context.WithCancel(t.Context())
	changed, ended := make(chan time.Time, 10), make(chan error)
	other := sameSpace(t, s)
	go func() {
		other.do("watch", func() error { ended <- WatchNetwork(ctx, func() { changed <- time.Now() }); return nil })
	}()
	// The watcher has looked when it notices a change; until then, make some.
	tick := time.NewTicker(700 * time.Millisecond)
	defer tick.Stop()
	var last time.Time // a change was told
	for n := byte(1); ; n++ {
		s.do("add an address", func() error { return configure("wire0", 1400, netip.AddrFrom4([4]byte{192, 0, 2, n}).String()+"/32") })
		select {
		case last = <-changed:
		case <-tick.C:
			continue
		}
		break
	}
	s.do("add three", func() error {
		if err := configure("wire0", 1400, "198.51.100.1/24", "198.51.100.2/24", "2001:db8::1/64"); err != nil {
			return err
		}
		// The kernel takes packets to one of IPv6 a moment after it is there.
		local := &netlink.Route{Table: unix.RT_TABLE_LOCAL, Dst: &net.IPNet{IP: net.ParseIP("2001:db8::1"), Mask: net.CIDRMask(128, 128)}}
		for {
			routes, err := netlink.RouteListFiltered(netlink.FAMILY_V6, local, netlink.RT_FILTER_TABLE|netlink.RT_FILTER_DST)
			if len(routes) > 0 || err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
				return err
			}
			time.Sleep(time.Millisecond)
		}
	})
	// The watcher has looked not before last and looks again after settle at the earliest.
	atOnce := time.Since(last) < settle
	select {
	case <-changed:
	case <-time.After(10 * time.Second):
		t.Error("three new addresses were not told")
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("got %v, want nil after the context ended", err)
	}
	if len(changed) > 0 {
		if !atOnce {
			return false
		}
		t.Error("three addresses at once were told more than once")
	}
	return true
}

// A rule may lead what we send another way, and no route has changed.
func TestRulesOfRoutingAreNews(t *testing.T) {
	for family, name := range map[int]string{netlink.FAMILY_V4: "IPv4", netlink.FAMILY_V6: "IPv6"} {
		t.Run(name, func(t *testing.T) {
			s := newSpace(t)
			ctx, cancel := context.WithCancel(t.Context())
			begun, changed, ended := make(chan struct{}, 10), make(chan struct{}, 10), make(chan error)
			look := func() (map[string]bool, error) {
				seen, err := snapshot()
				begun <- struct{}{}
				return seen, err
			}
			other := sameSpace(t, s)
			go func() {
				other.do("watch", func() error {
					ended <- watchNetwork(ctx, look, func() { changed <- struct{}{} })
					return nil
				})
			}()
			<-begun
			s.do("add a rule", func() error {
				rule := netlink.NewRule()
				rule.Family, rule.Mark, rule.Table = family, 7, 7
				return netlink.RuleAdd(rule)
			})
			select {
			case <-changed:
			case <-time.After(10 * time.Second):
				t.Error("a new rule was not told")
			}
			cancel()
			<-ended
		})
	}
}

// The one does not wait: nobody can reach us before it is told. Those that follow
// it do: each time costs a message to every peer.
func TestOnlyTheFirstChangeIsToldAtOnce(t *testing.T) {
	var never time.Time
	for since, want := range map[time.Duration]time.Duration{time.Since(never): quick, calm: quick, calm - 1: settle, 0: settle} {
		if got := patience(since); got != want {
			t.Errorf("%v after the last: waits %v, want %v", since, got, want)
		}
	}
}

// A router has routes coming and going beyond those that are compared, and to list
// the others each time would keep a processor busy.
func TestNewsThatChangeNothingAreSeldomLookedAt(t *testing.T) {
	s := newSpace(t)
	s.wire("192.0.2.1/24")
	ctx, cancel := context.WithCancel(t.Context())
	var looks atomic.Int32
	begun, ended := make(chan struct{}, 1), make(chan error)
	look := func() (map[string]bool, error) {
		if looks.Add(1) == 1 {
			begun <- struct{}{}
		}
		return nil, nil
	}
	other := sameSpace(t, s)
	go func() {
		other.do("watch", func() error {
			ended <- watchNetwork(ctx, look, func() { t.Error("told, though nothing has changed") })
			return nil
		})
	}()
	<-begun
	tick, begin := time.NewTicker(4*quick), time.Now()
	defer tick.Stop()
	const news = 50
	for n := range byte(news) {
		<-tick.C
		s.do("add an address", func() error {
			return configure("wire0", 1400, netip.AddrFrom4([4]byte{192, 0, 2, 10 + n}).String()+"/32")
		})
	}
	// Once before all, once at once; from then on it has to be quiet in between.
	most := 3 + int32(time.Since(begin)/settle)
	if n := looks.Load(); n < 2 || n > most {
		t.Errorf("looked %d times, want at least 2 and at most %d", n, most)
	}
	cancel()
	<-ended
}

// A scripted device or transport hands out one batch and takes others.
type scripted struct {
	give func(b *packet.Batch)
	took int
}

func (s *scripted) Read(b *packet.Batch) error {
	if s.give == nil {
		return io.EOF
	}
	b.Reset()
	s.give(b)
	s.give = nil
	return nil
}

func (s *scripted) Write(b *packet.Batch) error {
	s.took++
	for i := range b.Len() {
		clear(b.Packet(i))
	}
	return nil
}
func (s *scripted) MTU() int          { return 1420 }
func (s *scripted) Overhead() int     { return 0 }
func (s *scripted) Close() error      { return nil }
func (s *scripted) LocalPort() uint16 { return 1111 }

// records parses a pcap file.
func records(t *testing.T, file []byte) (out [][]byte) {
	t.Helper()
	if len(file) < 24 || binary.LittleEndian.Uint32(file) != 0xa1b23c4d || binary.LittleEndian.Uint32(file[20:]) != 101 {
		t.Fatalf("no pcap header: %x", file)
	}
	for rest := file[24:]; len(rest) > 0; {
		n := binary.LittleEndian.Uint32(rest[8:])
		if n != binary.LittleEndian.Uint32(rest[12:]) {
			t.Fatal("captured and original length differ")
		}
		out = append(out, rest[16:16+n])
		rest = rest[16+n:]
	}
	return out
}

func TestPcapOfADeviceHasWhatWasReadAndWritten(t *testing.T) {
	var file bytes.Buffer
	w, err := NewPcapWriter(&file)
	if err != nil {
		t.Fatal(err)
	}
	s := &scripted{give: func(b *packet.Batch) {
		copy(b.Append(30), "\x45read")
		b.Append(10)
		b.Drop(1)
	}}
	d := PcapDevice(s, w)
	b := packet.NewBatch(packet.Room{})
	if err := d.Read(b); err != nil {
		t.Fatal(err)
	}
	b.Reset()
	copy(b.Append(40), "\x60written")
	if err := d.Write(b); err != nil {
		t.Fatal(err)
	}
	if d.Read(b) == nil || d.MTU() != 1420 || s.took != 1 {
		t.Error("the device itself does not show through")
	}
	got := records(t, file.Bytes())
	if len(got) != 2 || len(got[0]) != 30 || string(got[0][:5]) != "\x45read" || len(got[1]) != 40 || string(got[1][:8]) != "\x60written" {
		t.Errorf("got %q", got)
	}
}

func TestPcapOfATransportHasHeadersOfItsOwn(t *testing.T) {
	for _, c := range []struct{ remote, local string }{
		{"192.0.2.1", "198.51.100.1"}, {"192.0.2.1", ""}, {"2001:db8::1", "2001:db8::2"}, {"2001:db8::1", ""}, {"::ffff:192.0.2.1", "::ffff:198.51.100.1"},
	} {
		var file bytes.Buffer
		w, _ := NewPcapWriter(&file)
		path := &packet.Path{Remote: netip.AddrPortFrom(netip.MustParseAddr(c.remote), 2222)}
		if c.local != "" {
			path.Local = netip.MustParseAddr(c.local)
		}
		b := packet.NewBatch(packet.Room{})
		tr := PcapTransport(&scripted{give: func(b *packet.Batch) { fill(b, path, 0x8a, 33) }}, w)
		if err := tr.Read(b); err != nil {
			t.Fatal(err)
		}
		if err := tr.Write(b); err != nil {
			t.Fatal(err)
		}
		got := records(t, file.Bytes())
		if len(got) != 2 {
			t.Fatalf("got %d records, want 2", len(got))
		}
		for i, pkt := range got {
			h, ok := packet.Transport(pkt)
			ports := [2]uint16{h.SrcPort, h.DstPort}
			want := [2][2]uint16{{2222, 1111}, {1111, 2222}}[i]
			if !ok || h.Proto != packet.ProtoUDP || ports != want || packet.Len(pkt) != len(pkt) {
				t.Errorf("%s: record %d: got %+v, ports want %v", c.remote, i, h, want)
			}
			src, _ := packet.Src(pkt)
			dst, _ := packet.Dst(pkt)
			if tos := uint8(binary.BigEndian.Uint16(pkt) >> 4); pkt[0]>>4 == 6 && tos != 0x8a || pkt[0]>>4 == 4 && pkt[1] != 0x8a {
				t.Errorf("%s: record %d has another traffic class: %x", c.remote, i, pkt[:2])
			}
			udp := pkt[h.Offset:]
			if packet.Fold(packet.Sum(packet.PseudoSum(src, dst, packet.ProtoUDP, len(udp)), udp)) != 0xffff {
				t.Errorf("%s: record %d has a wrong UDP checksum", c.remote, i)
			}
			if !bytes.Equal(udp[8:], datagram(0, 33)) {
				t.Errorf("%s: record %d: got %x", c.remote, i, udp[8:])
			}
		}
	}
}

// badWriter fails after some bytes.
type badWriter int

func (w *badWriter) Write(p []byte) (int, error) {
	if *w -= badWriter(len(p)); *w < 0 {
		return 0, io.ErrShortWrite
	}
	return len(p), nil
}

func TestFullDiskDoesNotDisturbTheTraffic(t *testing.T) {
	disk := badWriter(100)
	w, err := NewPcapWriter(&disk)
	if err != nil {
		t.Fatal(err)
	}
	s := &scripted{}
	d := PcapDevice(s, w)
	b := packet.NewBatch(packet.Room{})
	for range 5 {
		b.Reset()
		b.Append(40)
		if err := d.Write(b); err != nil {
			t.Errorf("Write: %v", err)
		}
	}
	if s.took != 5 || w.Err() == nil {
		t.Errorf("%d batches passed, recording error %v", s.took, w.Err())
	}
}

func TestLinkLocalFarEndIsReachedOnItsLink(t *testing.T) {
	a, z := newSpace(t), newSpace(t)
	relay(t, a.tun(linux(), testMTU, "fe80::a1/64"), z.tun(linux(), testMTU, "fe80::a2/64"))
	var from, to *UDP
	var index int
	a.do("listen", func() (err error) {
		l, err := netlink.LinkByName("tun0")
		if err != nil {
			return err
		}
		index = l.Attrs().Index
		from, err = ListenUDP(UDPOptions{})
		return err
	})
	z.do("listen", func() (err error) { to, err = ListenUDP(UDPOptions{}); return err })
	defer from.Close()
	defer to.Close()
	reach(t, from, to, &packet.Path{Remote: netip.AddrPortFrom(netip.MustParseAddr("fe80::a2"), to.LocalPort()), IfIndex: uint32(index)})
	b := packet.NewBatch(packet.Room{})
	fill(b, &packet.Path{Remote: netip.AddrPortFrom(netip.MustParseAddr("fe80::a2"), to.LocalPort()), IfIndex: uint32(index)}, 0, 5)
	if err := from.Write(b); err != nil {
		t.Fatal(err)
	}
	collect(t, to, 1, func(b *packet.Batch, i, _ int) {
		p := b.Path(i)
		if p.IfIndex == 0 || p.Remote.Addr().Zone() == "" {
			t.Errorf("got %+v, want the link", p)
		}
		answer := packet.NewBatch(packet.Room{})
		fill(answer, p, 0, 7)
		if err := to.Write(answer); err != nil {
			t.Fatal(err)
		}
	})
	collect(t, from, 1, func(b *packet.Batch, i, _ int) {})
}
