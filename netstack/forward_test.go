package netstack

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"time"

	"adit/packet"
)

// newTestGateway returns a gateway whose packets to the peer are collected.
func newTestGateway(t testing.TB, cfg GatewayConfig) (*Gateway, chan []byte) {
	t.Helper()
	cfg.Addresses = mustPrefixes("10.9.0.1/24", "fd00:9::1/64")
	cfg.Routes = mustPrefixes("10.9.0.2/32", "fd00:9::2/128")
	cfg.Room = testRoom
	if cfg.TCP == nil {
		cfg.TCP = func(r *TCPRequest) { r.Refuse(syscall.ECONNREFUSED) }
	}
	if cfg.UDP == nil {
		cfg.UDP = func(f *UDPFlow) { f.Refuse(syscall.ECONNREFUSED); f.Close() }
	}
	g, err := NewGateway(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close() })
	out := make(chan []byte, 1024)
	g.SetUpstream(func(b *packet.Batch) {
		for i := range b.Len() {
			select {
			case out <- slices.Clone(b.Packet(i)):
			default:
			}
		}
	})
	return g, out
}

// fixChecksums makes the checksums of an IPv4 or IPv6 packet right.
func fixChecksums(pkt []byte) []byte {
	pkt = slices.Clone(pkt)
	if n := packet.Len(pkt); n == 0 {
		return pkt
	} else if pkt[0]>>4 == 4 {
		headerLen := int(pkt[0]&15) * 4
		pkt[10], pkt[11] = 0, 0
		binary.BigEndian.PutUint16(pkt[10:], ^packet.Fold(packet.Sum(0, pkt[:headerLen])))
	}
	var h header
	if !h.parse(pkt) || h.Later {
		return pkt
	}
	at := map[uint8]int{protoTCP: 16, protoUDP: 6, protoICMP: 2, protoICMPv6: 2}[h.Proto]
	if at == 0 || len(h.payload) < at+2 {
		return pkt
	}
	sum := uint64(0)
	if h.Proto != protoICMP {
		sum = packet.PseudoSum(h.src, h.dst, h.Proto, len(h.payload))
	}
	h.payload[at], h.payload[at+1] = 0, 0
	binary.BigEndian.PutUint16(h.payload[at:], ^packet.Fold(packet.Sum(sum, h.payload)))
	return pkt
}

// send writes packets with right checksums into the gateway.
func send(g *Gateway, pkts ...[]byte) {
	for i := range pkts {
		pkts[i] = fixChecksums(pkts[i])
	}
	g.Device().Write(batchOf(pkts...))
}

func wantPacket(t *testing.T, what string, c chan []byte) header {
	t.Helper()
	select {
	case pkt := <-c:
		return mustHeader(pkt)
	case <-time.After(10 * time.Second):
		t.Fatalf("%s: no packet came", what)
		return header{}
	}
}

// TestGatewayAnswers compares what a peer gets for one packet.
func TestGatewayAnswers(t *testing.T) {
	g, out := newTestGateway(t, GatewayConfig{})
	const peer4, peer6 = "10.9.0.2", "fd00:9::2"
	for _, c := range []struct {
		what       string
		pkt        []byte
		proto      uint8
		kind, code byte // of ICMP
	}{
		{"refused connection", tcpPacket(peer4, far4, 1000, 80, tcpSYN), protoTCP, 0, 0},
		{"refused connection, IPv6", tcpPacket(peer6, far6, 1000, 80, tcpSYN), protoTCP, 0, 0},
		{"segment of no connection", tcpPacket(peer4, far4, 1000, 80, tcpACK), protoTCP, 0, 0},
		{"refused datagram", udpPacket(peer4, far4, 1000, 80), protoICMP, 3, packet.UnreachPort},
		{"refused datagram, IPv6", udpPacket(peer6, far6, 1000, 80), protoICMPv6, 1, packet.UnreachPort6},
		{"ping of the gateway", icmpPacket(peer4, "10.9.0.1", icmp4Echo, 0, nil), protoICMP, icmp4EchoReply, 0},
		{"ping of the gateway, IPv6", icmpPacket(peer6, "fd00:9::1", icmp6Echo, 0, nil), protoICMPv6, icmp6EchoReply, 0},
		{"connection to the gateway", tcpPacket(peer4, "10.9.0.1", 1000, 80, tcpSYN), protoTCP, 0, 0},
		{"loopback", tcpPacket(peer4, "127.0.0.1", 1000, 80, tcpSYN), protoICMP, 3, packet.UnreachProhibited},
		{"loopback, IPv6", udpPacket(peer6, "::1", 1000, 80), protoICMPv6, 1, packet.UnreachProhibited6},
		{"another protocol", ipPacket(peer4, far4, 47, make([]byte, 8)), protoICMP, 3, packet.UnreachProtocol},
		{"another protocol, IPv6", ipPacket(peer6, far6, 47, make([]byte, 8)), protoICMPv6, 1, packet.UnreachProhibited6},
	} {
		send(g, c.pkt)
		h := wantPacket(t, c.what, out)
		asked := mustHeader(c.pkt)
		if h.src != asked.dst || h.dst != asked.src || h.Proto != c.proto {
			t.Errorf("%s: got protocol %d from %v to %v", c.what, h.Proto, h.src, h.dst)
		} else if c.proto == protoTCP && h.payload[13]&4 == 0 {
			t.Errorf("%s: got flags %#x, want RST", c.what, h.payload[13])
		} else if c.proto != protoTCP && (h.payload[0] != c.kind || h.payload[1] != c.code) {
			t.Errorf("%s: got ICMP %d/%d, want %d/%d", c.what, h.payload[0], h.payload[1], c.kind, c.code)
		}
	}
	// None of these gets an answer; the ping behind them does.
	send(g,
		udpPacket(peer4, "224.0.0.251", 5353, 5353),
		udpPacket(peer4, "255.255.255.255", 68, 67),
		udpPacket(peer4, "10.9.0.255", 137, 137),
		udpPacket("10.9.0.1", far4, 1, 2),
		udpPacket("127.0.0.1", far4, 1, 2),
		icmpPacket(peer4, far4, icmp4Echo, 0, nil), // no handler of pings
		icmpPacket(peer4, far4, 13, 0, make([]byte, 12)),
		icmpPacket(peer4, "10.9.0.1", icmp4Echo, 0, nil))
	if h := wantPacket(t, "the last ping", out); h.src != netip.MustParseAddr("10.9.0.1") {
		t.Errorf("got an answer from %v to what deserves none", h.src)
	}
}

func TestEchoRequestIsAnsweredWhereThereIsNoProgramsKernel(t *testing.T) {
	s := newTestStack(t, tunnelConfig(nil))
	out := make(chan []byte, 4)
	s.SetUpstream(func(b *packet.Batch) { out <- slices.Clone(b.Packet(0)) })
	s.Device().Write(batchOf(fixChecksums(icmpPacket(far4, ours4, icmp4Echo, 0, []byte("adit")))))
	if h := wantPacket(t, "IPv4", out); h.payload[0] != icmp4EchoReply || h.dst.String() != far4 {
		t.Errorf("IPv4: got ICMP type %d to %v", h.payload[0], h.dst)
	}
	s.Device().Write(batchOf(fixChecksums(icmpPacket(far6, ours6, icmp6Echo, 0, []byte("adit")))))
	if h := wantPacket(t, "IPv6", out); h.payload[0] != icmp6EchoReply || h.dst.String() != far6 {
		t.Errorf("IPv6: got ICMP type %d to %v", h.payload[0], h.dst)
	}
}

func TestPingRequestsGoToTheirHandler(t *testing.T) {
	g, out := newTestGateway(t, GatewayConfig{Ping: func(r PingRequest) {
		msg := slices.Clone(r.Message)
		msg[0] = icmp4EchoReply
		if r.Source.Is6() {
			msg[0] = icmp6EchoReply
		}
		r.Reply(msg)
	}})
	for _, c := range [][2]string{{"10.9.0.2", far4}, {"fd00:9::2", far6}} {
		kind := byte(icmp4Echo)
		if netip.MustParseAddr(c[0]).Is6() {
			kind = icmp6Echo
		}
		send(g, icmpPacket(c[0], c[1], kind, 0, []byte("adit")))
		pkt := <-out
		h := mustHeader(pkt)
		if h.src.String() != c[1] || h.dst.String() != c[0] || string(h.payload[8:]) != "adit" || !checksumsHold(pkt) {
			t.Errorf("got %x", pkt)
		}
	}
}

func TestSecondSYNOfARequestIsNotAnotherRequest(t *testing.T) {
	requests := make(chan *TCPRequest, 4)
	g, out := newTestGateway(t, GatewayConfig{TCP: func(r *TCPRequest) { requests <- r }})
	syn := tcpPacket("10.9.0.2", far4, 1000, 80, tcpSYN)
	send(g, syn, syn)
	send(g, syn)
	r := <-requests
	if r.Source().String() != "10.9.0.2:1000" || r.Destination().String() != far4+":80" {
		t.Errorf("got a request from %v to %v", r.Source(), r.Destination())
	}
	r.Refuse(syscall.EHOSTUNREACH)
	r.Refuse(syscall.ECONNREFUSED) // too late
	if h := wantPacket(t, "answer", out); h.Proto != protoICMP || h.payload[0] != 3 || h.payload[1] != packet.UnreachHost {
		t.Errorf("got %x, want host unreachable", h.payload)
	}
	if _, err := r.Accept(); err == nil {
		t.Error("a refused request was accepted")
	}
	send(g, syn) // the peer tries again
	(<-requests).Refuse(syscall.ECONNREFUSED)
	if n := len(requests); n != 0 {
		t.Errorf("%d requests too many", n)
	}
}

func TestPacketsWithWrongChecksumsAreDropped(t *testing.T) {
	for _, pkt := range [][]byte{
		tcpPacket("10.9.0.2", far4, 1000, 80, tcpSYN), udpPacket("fd00:9::2", far6, 1000, 80),
		icmpPacket("10.9.0.2", "10.9.0.1", icmp4Echo, 0, nil), icmpPacket("fd00:9::2", "fd00:9::1", icmp6Echo, 0, nil),
	} {
		good := fixChecksums(pkt)
		if !checksumsHold(good) {
			t.Errorf("%x: right checksums do not hold", good)
		}
		for i := range good {
			bad := slices.Clone(good)
			bad[i] ^= 0x10
			if packet.Len(bad) == len(bad) && checksumsHold(bad) && !isUnsummed(bad, i) {
				t.Errorf("%x: wrong at byte %d, and holds", bad, i)
			}
		}
	}
}

// isUnsummed reports whether byte i of pkt is in no checksum that holds for it:
// IPv6's traffic class, flow label and hop limit, and its next header, which
// makes of it something that has none.
func isUnsummed(pkt []byte, i int) bool {
	return pkt[0]>>4 == 6 && (i < 4 || i == 6 || i == 7)
}

// FuzzGateway: no packet of a peer makes the gateway, or gVisor behind it, panic.
func FuzzGateway(f *testing.F) {
	for _, pkt := range [][]byte{
		tcpPacket("10.9.0.2", far4, 1, 2, tcpSYN), udpPacket("fd00:9::2", far6, 1, 2),
		icmpPacket("10.9.0.2", "10.9.0.1", 3, 4, udpPacket(far4, "10.9.0.2", 62000, 53)),
		asFragment(udpPacket("10.9.0.2", far4, 1, 2), 0, true), asFragment(udpPacket("10.9.0.2", far4, 1, 2), 8, false),
		ipPacket("fd00:9::2", far6, 44, append([]byte{protoUDP, 0, 0, 1, 0, 0, 0, 1}, make([]byte, 16)...)),
	} {
		f.Add(pkt)
	}
	g, out := newTestGateway(f, GatewayConfig{})
	f.Fuzz(func(t *testing.T, pkt []byte) {
		if len(pkt) > 60000 {
			return
		}
		send(g, pkt)
		for len(out) > 0 {
			<-out
		}
	})
}
