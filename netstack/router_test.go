package netstack

import (
	"bytes"
	"encoding/binary"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// Addresses of the tests: ours are 10.9.0.2 and fd00:9::2, far ones 192.0.2.1
// and 2001:db8::1.
const (
	ours4, ours6 = "10.9.0.2", "fd00:9::2"
	far4, far6   = "192.0.2.1", "2001:db8::1"
)

func wantVerdict(t *testing.T, what string, got, want verdict) {
	t.Helper()
	names := map[verdict]string{pass: "pass", drop: "drop", local: "local", both: "both", unreachable: "unreachable"}
	if got != want {
		t.Errorf("%s: got %s, want %s", what, names[got], names[want])
	}
}

func TestOutgoing(t *testing.T) {
	s := newTestStack(t, tunnelConfig(newPipe()))
	for _, c := range []struct {
		what string
		pkt  []byte
		want verdict
	}{
		{"TCP to the tunnel", tcpPacket(ours4, far4, 1000, 80, tcpSYN), pass},
		{"IPv6 to the tunnel", udpPacket(ours6, far6, 1000, 80), pass},
		{"any protocol to the tunnel", ipPacket(ours4, far4, 47, make([]byte, 8)), pass},
		{"later fragment", asFragment(udpPacket(ours4, far4, 1, 2), 1400, false), pass},
		{"multicast of wider scope, if routed", udpPacket(ours4, "10.255.0.1", 1, 2), pass},
		{"destination outside of the routes", tcpPacket(ours4, "198.51.100.1", 1000, 80, tcpSYN), unreachable},
		{"IPv6 destination outside of the routes", tcpPacket(ours6, "2001:dead::1", 1000, 80, tcpSYN), unreachable},
		{"a source that is not ours", tcpPacket("192.168.1.2", far4, 1000, 80, tcpSYN), drop},
		{"a source in our network that is not ours", tcpPacket("10.9.0.3", far4, 1000, 80, tcpSYN), drop},
		{"no source", udpPacket("0.0.0.0", far4, 68, 67), drop},
		{"link-local source", udpPacket("fe80::1", far6, 1, 2), drop},
		{"mDNS", udpPacket(ours4, "224.0.0.251", 5353, 5353), drop},
		{"IGMP", ipPacket(ours4, "224.0.0.22", 2, make([]byte, 8)), drop},
		{"broadcast", udpPacket(ours4, "255.255.255.255", 68, 67), drop},
		{"broadcast of our network", udpPacket(ours4, "10.9.0.255", 137, 137), drop},
		{"router solicitation", icmpPacket("fe80::1", "ff02::2", 133, 0, nil), drop},
		{"MLD report", icmpPacket(ours6, "ff02::16", 143, 0, nil), drop},
		{"interface-local multicast", udpPacket(ours6, "ff01::1", 1, 2), drop},
		{"to ourselves", tcpPacket(ours4, ours4, 1, 2, tcpSYN), drop},
		{"nothing", nil, drop},
		{"a stray byte", []byte{0x45}, drop},
		{"version 5", append([]byte{0x55}, make([]byte, 40)...), drop},
		{"cut short", tcpPacket(ours4, far4, 1000, 80, tcpSYN)[:30], drop},
		{"header length below 20", append([]byte{0x44}, tcpPacket(ours4, far4, 1, 2, 0)[1:]...), drop},
		{"IPv4 in IPv6's form", udpPacket("::ffff:10.9.0.2", far6, 1, 2), drop},
	} {
		var h header
		wantVerdict(t, c.what, s.router.outgoing(&h, c.pkt, 1), c.want)
	}
}

func TestIncoming(t *testing.T) {
	cfg := tunnelConfig(newPipe())
	cfg.Expose = Exposed{TCP: []uint16{80}, UDP: []uint16{53}}
	s := newTestStack(t, cfg)
	mine := udpPacket(ours4, far4, 40000, 53)
	mine6 := udpPacket(ours6, far6, 40000, 53)
	for _, c := range []struct {
		what string
		pkt  []byte
		want verdict
	}{
		{"segment of a connection", tcpPacket(far4, ours4, 443, 40000, tcpACK), pass},
		{"SYN+ACK", tcpPacket(far4, ours4, 443, 40000, tcpSYN|tcpACK), pass},
		{"SYN to an exposed port", tcpPacket(far4, ours4, 1000, 80, tcpSYN), pass},
		{"SYN to another port", tcpPacket(far4, ours4, 1000, 81, tcpSYN), drop},
		{"SYN with FIN to another port", tcpPacket(far4, ours4, 1000, 81, tcpSYN|1), drop},
		{"SYN to a port exposed for UDP", tcpPacket(far6, ours6, 1000, 53, tcpSYN), drop},
		{"UDP to an exposed port", udpPacket(far4, ours4, 1000, 53), pass},
		{"UDP to a silent port", udpPacket(far4, ours4, 1000, 54), drop},
		{"UDP too short for its header", ipPacket(far4, ours4, protoUDP, []byte{0, 1, 0, 53}), drop},
		{"echo request", icmpPacket(far4, ours4, 8, 0, nil), pass},
		{"echo reply", icmpPacket(far4, ours4, 0, 0, nil), pass},
		{"echo request, IPv6", icmpPacket(far6, ours6, 128, 0, nil), pass},
		{"unreachable about our packet", icmpPacket(far4, ours4, 3, 1, mine), pass},
		{"unreachable about our packet, its head", icmpPacket(far4, ours4, 3, 1, mine[:28]), pass},
		{"too big about our packet", icmpPacket("2001:db8::ffff", ours6, 2, 0, mine6), pass},
		{"unreachable about a stranger's packet", icmpPacket(far4, ours4, 3, 1, udpPacket("10.9.0.9", far4, 1, 2)), drop},
		{"unreachable about nothing", icmpPacket(far4, ours4, 3, 1, nil), drop},
		{"redirect", icmpPacket(far4, ours4, 5, 1, mine), drop},
		{"timestamp request", icmpPacket(far4, ours4, 13, 0, make([]byte, 12)), drop},
		{"router advertisement", icmpPacket(far6, ours6, 134, 0, nil), drop},
		{"neighbour solicitation", icmpPacket(far6, ours6, 135, 0, nil), drop},
		{"ICMPv6 in IPv4", ipPacket(far4, ours4, protoICMPv6, make([]byte, 8)), drop},
		{"ICMP cut short", ipPacket(far4, ours4, protoICMP, make([]byte, 4)), drop},
		{"not to us", tcpPacket(far4, "10.9.0.3", 443, 40000, tcpACK), drop},
		{"multicast", udpPacket(far4, "224.0.0.1", 1, 2), drop},
		{"from ourselves", tcpPacket(ours4, ours4, 443, 40000, tcpACK), drop},
		{"from our other address", tcpPacket(ours4, ours4, 1, 2, tcpACK), drop},
		{"from loopback", udpPacket("127.0.0.1", ours4, 1000, 53), drop},
		{"from loopback, IPv6", udpPacket("::1", ours6, 1000, 53), drop},
		{"from nowhere", udpPacket("0.0.0.0", ours4, 1000, 53), drop},
		{"from multicast", udpPacket("224.0.0.1", ours4, 1000, 53), drop},
		{"first fragment to an exposed port", asFragment(udpPacket(far4, ours4, 1, 53), 0, true), pass},
		{"first fragment to a silent port", asFragment(udpPacket(far4, ours4, 1, 54), 0, true), drop},
		{"first fragment without TCP's flags", asFragment(tcpHead(8), 0, true), drop},
		{"later fragment", asFragment(udpPacket(far4, ours4, 0, 0), 1400, false), pass},
		{"later fragment over TCP's flags", asFragment(tcpPacket(far4, ours4, 1, 2, 0), 8, false), drop},
		{"SCTP association", ipPacket(far4, ours4, protoSCTP, sctp(1)), drop},
		{"SCTP out of the blue", ipPacket(far4, ours4, protoSCTP, sctp(0)), drop},
		{"GRE out of the blue", ipPacket(far4, ours4, 47, make([]byte, 8)), drop},
	} {
		var h header
		wantVerdict(t, c.what, s.router.incoming(&h, c.pkt, 1), c.want)
	}
}

// tcpHead is a TCP packet with only n bytes of TCP in it.
func tcpHead(n int) []byte {
	return ipPacket(far4, ours4, protoTCP, make([]byte, n))
}

func sctp(chunk byte) []byte {
	p := make([]byte, 16)
	binary.BigEndian.PutUint16(p[2:], 9)
	p[12] = chunk
	return p
}

func TestUDPIsLetInForThreeMinutesAfterThePortHasSent(t *testing.T) {
	s := newTestStack(t, tunnelConfig(newPipe()))
	var h header
	const begin = moment(1000)
	window := moment(replyWindow / time.Second)
	s.router.outgoing(&h, udpPacket(ours4, far4, 40000, 53), begin)

	answer := udpPacket("192.0.2.77", ours4, 9, 40000) // from anybody: hole punching works
	wantVerdict(t, "at once", s.router.incoming(&h, answer, begin), pass)
	wantVerdict(t, "by a batch that began a moment earlier", s.router.incoming(&h, answer, begin-1), pass)
	wantVerdict(t, "after three minutes", s.router.incoming(&h, answer, begin+window), pass)
	wantVerdict(t, "after more than three minutes", s.router.incoming(&h, answer, begin+window+1), drop)
	wantVerdict(t, "to another port", s.router.incoming(&h, udpPacket(far4, ours4, 53, 40001), begin), drop)

	s.router.outgoing(&h, udpPacket(ours4, far4, 40000, 53), begin+window)
	wantVerdict(t, "after it has sent again", s.router.incoming(&h, answer, begin+window+1), pass)
}

func TestOtherProtocolsAreLetInAfterTheyWereSent(t *testing.T) {
	s := newTestStack(t, tunnelConfig(newPipe()))
	var h header
	s.router.outgoing(&h, ipPacket(ours4, far4, 47, make([]byte, 8)), 1)
	wantVerdict(t, "GRE", s.router.incoming(&h, ipPacket(far4, ours4, 47, make([]byte, 8)), 2), pass)
	s.router.outgoing(&h, ipPacket(ours4, far4, protoSCTP, sctp(1)), 1)
	wantVerdict(t, "SCTP data", s.router.incoming(&h, ipPacket(far4, ours4, protoSCTP, sctp(0)), 2), pass)
	wantVerdict(t, "SCTP association", s.router.incoming(&h, ipPacket(far4, ours4, protoSCTP, sctp(1)), 2), drop)
}

func TestWithoutCaptureEverythingIsLocal(t *testing.T) {
	s := newTestStack(t, tunnelConfig(nil))
	var h header
	wantVerdict(t, "echo request", s.router.incoming(&h, icmpPacket(far4, ours4, 8, 0, nil), 1), local)
	wantVerdict(t, "segment", s.router.incoming(&h, tcpPacket(far4, ours4, 1, 2, tcpACK), 1), local)
	wantVerdict(t, "fragment", s.router.incoming(&h, asFragment(udpPacket(far4, ours4, 1, 2), 1400, false), 1), local)
	wantVerdict(t, "SYN to a port that is not exposed", s.router.incoming(&h, tcpPacket(far4, ours4, 1, 2, tcpSYN), 1), drop)
	wantVerdict(t, "UDP to a silent port", s.router.incoming(&h, udpPacket(far4, ours4, 1, 2), 1), drop)
}

func TestFirstDropOfAPortIsLoggedOnce(t *testing.T) {
	var out bytes.Buffer
	cfg := tunnelConfig(newPipe())
	cfg.Logger = slog.New(slog.NewTextHandler(&out, nil))
	s := newTestStack(t, cfg)
	for range 3 {
		s.filterIncoming(batchOf(tcpPacket(far4, ours4, 1, 22, tcpSYN), tcpPacket(far4, ours4, 1, 23, tcpSYN), udpPacket(far4, ours4, 1, 22)))
	}
	if n := strings.Count(out.String(), "\n"); n != 3 {
		t.Errorf("got %d lines, want 3:\n%s", n, out.String())
	}
	if !strings.Contains(out.String(), "network=tcp port=22 from=192.0.2.1") {
		t.Errorf("the line does not name network, port and source:\n%s", out.String())
	}
}

func TestStatsCountWhatIsLeftOut(t *testing.T) {
	s := newTestStack(t, tunnelConfig(newPipe()))
	s.filterOutgoing(batchOf([]byte{1}, udpPacket("192.168.1.2", far4, 1, 2), udpPacket(ours4, "224.0.0.251", 1, 2), udpPacket(ours4, "198.51.100.1", 1, 2)))
	s.filterIncoming(batchOf(udpPacket(far4, "10.9.0.9", 1, 2), udpPacket(far4, ours4, 1, 2), icmpPacket(far4, ours4, 5, 0, nil)))
	if got, want := s.Stats(), (Stats{1, 1, 1, 1, 1, 1, 1}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestUnroutablePacketIsAnsweredWithUnreachable(t *testing.T) {
	capture := newPipe()
	s := newTestStack(t, tunnelConfig(capture))
	for _, c := range []struct {
		pkt       []byte
		kind      byte
		code      byte
		icmpStart int
	}{
		{tcpPacket(ours4, "198.51.100.1", 1000, 80, tcpSYN), 3, 0, ipv4HeaderLen},
		{tcpPacket(ours6, "2001:dead::1", 1000, 80, tcpSYN), 1, 0, ipv6HeaderLen},
	} {
		if left := s.filterOutgoing(batchOf(c.pkt)); left != 0 {
			t.Fatalf("%d packets entered the tunnel", left)
		}
		msg := capture.wantOut(t, "unreachable")
		var h header
		if !h.parse(msg) || h.dst != mustHeader(c.pkt).src || h.src != mustHeader(c.pkt).dst {
			t.Errorf("got an answer from %v to %v", h.src, h.dst)
		}
		if msg[c.icmpStart] != c.kind || msg[c.icmpStart+1] != c.code {
			t.Errorf("got type %d code %d, want %d and %d", msg[c.icmpStart], msg[c.icmpStart+1], c.kind, c.code)
		}
	}
}

func mustHeader(pkt []byte) header {
	var h header
	if !h.parse(pkt) {
		panic("not a packet")
	}
	return h
}

func TestUnreachablesAreLimited(t *testing.T) {
	var l limiter
	n := 0
	for range 10 * errorsPerSecond {
		if l.allow(7) {
			n++
		}
	}
	if n != errorsPerSecond {
		t.Errorf("got %d in one second, want %d", n, errorsPerSecond)
	}
	if !l.allow(8) {
		t.Error("the next second begins without budget")
	}
}

// TestPrefixesAgreeWithSlowReference compares the ranges with a list.
func TestPrefixesAgreeWithSlowReference(t *testing.T) {
	lists := [][]netip.Prefix{
		nil,
		mustPrefixes("0.0.0.0/0"),
		mustPrefixes("::/0"),
		mustPrefixes("0.0.0.0/0", "::/0"),
		mustPrefixes("10.0.0.0/8", "10.1.0.0/16", "11.0.0.0/8", "255.255.255.255/32", "0.0.0.0/32"),
		mustPrefixes("128.0.0.0/1", "0.0.0.0/1", "fd00::/8", "fe00::/8"),
		mustPrefixes("10.0.0.7/32", "10.0.0.8/32", "10.0.0.10/31", "::1/128", "ffff::/16"),
	}
	addrs := []string{"0.0.0.0", "0.0.0.1", "10.0.0.6", "10.0.0.7", "10.0.0.8", "10.0.0.9", "10.0.0.10", "10.0.0.11",
		"10.255.255.255", "11.0.0.0", "12.0.0.0", "127.255.255.255", "128.0.0.0", "255.255.255.254", "255.255.255.255",
		"::", "::1", "::2", "fd00::", "fcff::", "feff:ffff::1", "ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "::ffff:10.0.0.7"}
	rng := rand.New(rand.NewPCG(1, 2))
	var random []netip.Prefix
	for range 300 { // in a small space, so that they touch and overlap
		p, _ := netip.AddrFrom4([4]byte{10, byte(rng.IntN(2)), byte(rng.IntN(256)), byte(rng.IntN(256))}).Prefix(24 + rng.IntN(9))
		random = append(random, p)
	}
	lists = append(lists, random)
	for range 300 {
		addrs = append(addrs, netip.AddrFrom4([4]byte{10, byte(rng.IntN(2)), byte(rng.IntN(256)), byte(rng.IntN(256))}).String())
	}
	for _, list := range lists {
		set := newPrefixes(list)
		for _, s := range addrs {
			addr := netip.MustParseAddr(s)
			want := false
			for _, p := range list {
				want = want || p.Contains(addr)
			}
			if got := set.contains(addr); got != want {
				t.Errorf("%v covers %v: got %v, want %v", list, addr, got, want)
			}
		}
	}
}

// FuzzRouter: no packet makes the router panic, and none enters the tunnel
// that does not come from us and go to what the tunnel covers.
func FuzzRouter(f *testing.F) {
	f.Add(tcpPacket(ours4, far4, 1, 2, tcpSYN))
	f.Add(udpPacket(far6, ours6, 1, 2))
	f.Add(icmpPacket(far4, ours4, 3, 1, udpPacket(ours4, far4, 62000, 53)))
	f.Add(ipPacket(far6, ours6, 44, append([]byte{protoUDP, 0, 0, 1, 0, 0, 0, 1}, make([]byte, 16)...)))
	capture := newPipe()
	s := newTestStack(f, tunnelConfig(capture))
	f.Fuzz(func(t *testing.T, pkt []byte) {
		if len(pkt) > 60000 {
			return
		}
		b := batchOf(pkt)
		if s.filterOutgoing(b) > 0 {
			h := mustHeader(b.Packet(0))
			if !s.router.hosts.contains(h.src) || !s.router.routes.contains(h.dst) {
				t.Errorf("a packet from %v to %v entered the tunnel", h.src, h.dst)
			}
		}
		b = batchOf(pkt)
		if s.filterIncoming(b) > 0 {
			h := mustHeader(b.Packet(0))
			if !s.router.hosts.contains(h.dst) || s.router.hosts.contains(h.src) {
				t.Errorf("a packet from %v to %v came out of the tunnel", h.src, h.dst)
			}
			if h.Proto == protoTCP && !h.Later && h.isTCPOpening() {
				t.Errorf("a connection from %v to port %d came out of the tunnel", h.src, h.DstPort)
			}
		}
		for len(capture.out) > 0 {
			<-capture.out
		}
	})
}
