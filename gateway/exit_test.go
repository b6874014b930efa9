package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"adit/netstack"
	"adit/packet"
	"adit/wg"
)

var peerAddresses = []netip.Prefix{netip.MustParsePrefix("10.97.0.2/32"), netip.MustParsePrefix("fd61:6469:7400::2/128")}

// newPair returns an exit and the network of its one peer, joined without a
// tunnel. Connections behind the gateway go to this host's loopback, at the
// port that was asked for, unless o has a Dial.
func newPair(t *testing.T, o Options) (*exit, *netstack.Stack) {
	t.Helper()
	o.Peers = []Peer{{Addresses: peerAddresses}}
	if o.Dial == nil {
		o.Dial = dialLoopback
	}
	x, err := newExit(o.withDefaults())
	if err != nil {
		t.Fatal(err)
	}
	peer := newPeerStack(t)
	t.Cleanup(x.close)
	join2(t, peer.SetUpstream, x.net.Device())
	join2(t, x.net.SetUpstream, peer.Device())
	return x, peer
}

func newPeerStack(t *testing.T) *netstack.Stack {
	t.Helper()
	s, err := netstack.New(netstack.Config{
		Addresses: peerAddresses,
		Routes:    []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")},
		DNS:       []netip.Addr{netip.MustParseAddr("10.97.0.1")},
		Room:      wg.Room(DefaultMTU),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func dialLoopback(ctx context.Context, network, address string) (net.Conn, error) {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	return hostDialer().DialContext(ctx, network, "127.0.0.1:"+port)
}

// join2 carries what one side sends to the other's Device.
func join2(t *testing.T, setUpstream func(func(*packet.Batch)), to packet.Device) {
	wire := make(chan []byte, 4096)
	done := make(chan struct{})
	setUpstream(func(b *packet.Batch) {
		for i := range b.Len() {
			select {
			case wire <- slices.Clone(b.Packet(i)):
			case <-done:
			}
		}
	})
	var wg sync.WaitGroup
	wg.Go(func() {
		b := packet.NewBatch(packet.Room{})
		for {
			b.Reset()
			select {
			case pkt := <-wire:
				copy(b.Append(len(pkt)), pkt)
			case <-done:
				return
			}
			if to.Write(b) != nil {
				return
			}
		}
	})
	t.Cleanup(func() { close(done); wg.Wait() })
}

// listenTCP serves on a free port of the loopback and returns the port.
func listenTCP(t *testing.T, serve func(*net.TCPConn)) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				serve(c.(*net.TCPConn))
			}()
		}
	}()
	return l.Addr().(*net.TCPAddr).Port
}

// closedPort is one that nobody listens at, and that no socket gets which asks for
// any, as it may get one that was closed a moment ago.
const closedPort = 1

func echo(c *net.TCPConn) { io.Copy(c, c) }

// dial connects the peer to an address behind the gateway.
func dial(t *testing.T, peer *netstack.Stack, network, host string, port int) net.Conn {
	t.Helper()
	c, err := peer.DialContext(t.Context(), network, net.JoinHostPort(host, fmt.Sprint(port)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(20 * time.Second))
	return c
}

func TestConnectionsLeaveByTheHost(t *testing.T) {
	_, peer := newPair(t, Options{})
	port := listenTCP(t, echo)
	for _, host := range []string{"198.51.100.1", "2001:db8::1"} {
		c := dial(t, peer, "tcp", host, port)
		want := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
		go func() {
			c.Write(want)
			c.(netstack.Conn).CloseWrite() // arrives as an end, or echo would not end
		}()
		got, err := io.ReadAll(c)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: got %d bytes, %v, want the %d that were sent", host, len(got), err, len(want))
		}
	}
}

func TestPeerLearnsWhatBecameOfItsConnection(t *testing.T) {
	for _, c := range []struct {
		behind error // of Dial
		host   string
		want   error
	}{
		{syscall.ECONNREFUSED, "198.51.100.1", syscall.ECONNREFUSED},
		{syscall.EHOSTUNREACH, "198.51.100.1", syscall.EHOSTUNREACH},
		{syscall.ENETUNREACH, "198.51.100.1", syscall.ENETUNREACH},
		{syscall.EACCES, "198.51.100.1", syscall.EHOSTUNREACH}, // "prohibited", as Linux has it
		{syscall.ECONNREFUSED, "2001:db8::1", syscall.ECONNREFUSED},
		{syscall.EHOSTUNREACH, "2001:db8::1", syscall.ENETUNREACH}, // netstack knows one ICMPv6 code
		{errors.New("anything else"), "198.51.100.1", syscall.ECONNREFUSED},
		{os.ErrDeadlineExceeded, "198.51.100.1", os.ErrDeadlineExceeded}, // silence for silence
	} {
		_, peer := newPair(t, Options{Dial: func(context.Context, string, string) (net.Conn, error) {
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: c.behind}
		}})
		patience := 20 * time.Second
		if c.want == os.ErrDeadlineExceeded {
			patience = 300 * time.Millisecond
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		_, err := peer.DialContext(ctx, "tcp", net.JoinHostPort(c.host, "80"))
		cancel()
		if !errors.Is(err, c.want) {
			t.Errorf("%v behind the gateway, %s: got %v, want %v", c.behind, c.host, err, c.want)
		}
	}
}

func TestRealRefusalOfTheHost(t *testing.T) {
	_, peer := newPair(t, Options{})
	_, err := peer.DialContext(t.Context(), "tcp", fmt.Sprintf("198.51.100.1:%d", closedPort))
	if !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("got %v, want ECONNREFUSED", err)
	}
}

func TestResetIsPassedOnBothWays(t *testing.T) {
	_, peer := newPair(t, Options{})
	port := listenTCP(t, func(c *net.TCPConn) {
		c.Read(make([]byte, 1))
		c.SetLinger(0)
	})
	c := dial(t, peer, "tcp", "198.51.100.1", port)
	c.Write([]byte{1})
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("far end resets: the peer got %v, want ECONNRESET", err)
	}
	got := make(chan error, 1)
	port = listenTCP(t, func(c *net.TCPConn) {
		_, err := io.ReadAll(c)
		got <- err
	})
	dial(t, peer, "tcp", "198.51.100.1", port).(netstack.Conn).Reset()
	if err := <-got; !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("peer resets: the far end got %v, want ECONNRESET", err)
	}
}

func TestHalfCloseReachesTheFarEnd(t *testing.T) {
	_, peer := newPair(t, Options{})
	port := listenTCP(t, func(c *net.TCPConn) {
		question, _ := io.ReadAll(c) // ends only by a FIN
		fmt.Fprintf(c, "you said %s", question)
	})
	c := dial(t, peer, "tcp", "198.51.100.1", port)
	io.WriteString(c, "hello")
	c.(netstack.Conn).CloseWrite()
	if got, err := io.ReadAll(c); string(got) != "you said hello" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}

// TestThousandsOfHalfOpenConnections: those that wait do not hinder others.
func TestThousandsOfHalfOpenConnections(t *testing.T) {
	const n = 4200
	var waiting atomic.Int32
	all, release := make(chan struct{}), make(chan struct{})
	_, peer := newPair(t, Options{Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		if strings.HasSuffix(address, ":80") {
			return nil, syscall.ECONNREFUSED
		}
		if waiting.Add(1) == n {
			close(all)
		}
		select {
		case <-release:
			return nil, syscall.ECONNREFUSED
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}})
	var wg sync.WaitGroup
	var refused atomic.Int32
	for i := range n {
		wg.Go(func() {
			// To a hundred hosts: gVisor looks through all addresses in use for each
			// that is new, and whoever dials gives up after two minutes.
			_, err := peer.DialContext(t.Context(), "tcp", fmt.Sprintf("198.51.0.%d:%d", i%100, 81+i/100))
			if errors.Is(err, syscall.ECONNREFUSED) {
				refused.Add(1)
			}
		})
	}
	<-all
	if _, err := peer.DialContext(t.Context(), "tcp", "198.51.100.1:80"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("one more: got %v, want its answer at once", err)
	}
	close(release)
	wg.Wait()
	if refused.Load() != n {
		t.Errorf("%d of %d got their answer", refused.Load(), n)
	}
}

func listenUDP(t *testing.T) (*net.UDPConn, int) {
	t.Helper()
	c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c, c.LocalAddr().(*net.UDPAddr).Port
}

func TestDatagramsLeaveByTheHost(t *testing.T) {
	_, peer := newPair(t, Options{})
	far, port := listenUDP(t)
	go func() {
		b := make([]byte, maxDatagram)
		for {
			n, from, err := far.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			far.WriteToUDPAddrPort(b[:n], from)
		}
	}()
	for _, host := range []string{"198.51.100.1", "2001:db8::1"} {
		c := dial(t, peer, "udp", host, port)
		for _, size := range []int{0, 1, 1400, 9000} {
			want, got := bytes.Repeat([]byte{7}, size), make([]byte, maxDatagram)
			c.Write(want)
			if n, err := c.Read(got); err != nil || !bytes.Equal(got[:n], want) {
				t.Errorf("%s, %d bytes: got %d, %v", host, size, n, err)
			}
		}
	}
	c := dial(t, peer, "udp", "198.51.100.1", closedPort)
	c.Write([]byte("anybody there?"))
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("closed port: got %v, want ECONNREFUSED", err)
	}
}

func TestFlowEndsAfterItWasSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nearIn, near := net.Pipe()
		farIn, far := net.Pipe()
		start := time.Now()
		var ended time.Duration
		done := make(chan struct{})
		go func() {
			joinFlow(near, far, flowIdle, func(error) {})
			ended = time.Since(start)
			close(done)
		}()
		b := make([]byte, 8)
		time.Sleep(2 * time.Minute)
		nearIn.Write([]byte("one"))
		farIn.Read(b)
		time.Sleep(2 * time.Minute) // the answer extends the flow for both ways
		farIn.Write([]byte("two"))
		nearIn.Read(b)
		<-done
		if want := 4*time.Minute + flowIdle; ended != want {
			t.Errorf("the flow ended after %v, want %v", ended, want)
		}
		if _, err := nearIn.Write(b); err == nil {
			t.Error("the near side is open")
		}
	})
}

func TestForbiddenDestinations(t *testing.T) {
	x, peer := newPair(t, Options{})
	for _, host := range []string{
		"127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "0.0.0.0", "0.0.0.1", "::", "::127.0.0.1",
		"169.254.169.254", "fe80::1", "::ffff:169.254.169.254", "224.0.0.1", "ff02::1", "255.255.255.255", "240.0.0.1",
		"64:ff9b::127.0.0.1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::1", "fd00:ec2::254", "100.100.100.200",
		"10.97.0.2", "10.97.0.99", "fd61:6469:7400::2", "fd61:6469:7400::99",
	} {
		if err := x.permit(netip.MustParseAddr(host)); !errors.Is(err, syscall.EACCES) {
			t.Errorf("%s: got %v, want EACCES", host, err)
		}
	}
	for _, host := range []string{"198.51.100.1", "10.98.0.1", "192.168.1.1", "2001:db8::1", "fd00::1", "64:ff9b::198.51.100.1"} {
		if err := x.permit(netip.MustParseAddr(host)); err != nil {
			t.Errorf("%s: got %v, want that it is permitted", host, err)
		}
	}
	// A peer hears of it, and nothing was dialled: the listener would accept.
	port := listenTCP(t, echo)
	for _, host := range []string{"169.254.169.254", "10.97.0.99", "fe80::1"} {
		_, err := peer.DialContext(t.Context(), "tcp", net.JoinHostPort(host, fmt.Sprint(port)))
		if !errors.Is(err, syscall.EHOSTUNREACH) && !errors.Is(err, syscall.ENETUNREACH) {
			t.Errorf("%s: got %v, want unreachable", host, err)
		}
	}
}

// TestLoopbackInPacketsIsForbidden writes packets as a hostile peer makes them.
func TestLoopbackInPacketsIsForbidden(t *testing.T) {
	var dialled atomic.Int32
	x, err := newExit(Options{Peers: []Peer{{Addresses: peerAddresses}}, Dial: func(context.Context, string, string) (net.Conn, error) {
		dialled.Add(1)
		return nil, syscall.ECONNREFUSED
	}}.withDefaults())
	if err != nil {
		t.Fatal(err)
	}
	defer x.close()
	answers := make(chan []byte, 64)
	x.net.SetUpstream(func(b *packet.Batch) {
		for i := range b.Len() {
			answers <- slices.Clone(b.Packet(i))
		}
	})
	for _, dst := range []string{"127.0.0.1", "0.0.0.0", "0.1.2.3", "::1", "::ffff:127.0.0.1", "::"} {
		src := "10.97.0.2"
		if strings.Contains(dst, ":") {
			src = "fd61:6469:7400::2"
		}
		b := packet.NewBatch(packet.Room{})
		for _, pkt := range [][]byte{makeSYN(src, dst, 80), makeDatagram(src, dst, 53)} {
			copy(b.Append(len(pkt)), pkt)
		}
		x.net.Device().Write(b)
	}
	// Whatever is done in handlers is done once this one has been answered.
	b := packet.NewBatch(packet.Room{})
	pkt := makeSYN("10.97.0.2", "198.51.100.1", 80)
	copy(b.Append(len(pkt)), pkt)
	x.net.Device().Write(b)
	for {
		pkt := <-answers
		if src, _ := packet.Src(pkt); src == netip.MustParseAddr("198.51.100.1") {
			break
		}
	}
	if n := dialled.Load(); n != 1 {
		t.Errorf("%d connections were dialled, want only the one that is permitted", n)
	}
}

func TestOwnAddressesHaveNoServices(t *testing.T) {
	_, peer := newPair(t, Options{})
	port := listenTCP(t, echo)
	for _, host := range []string{"10.97.0.1", "fd61:6469:7400::1"} {
		if _, err := peer.DialContext(t.Context(), "tcp", net.JoinHostPort(host, fmt.Sprint(port))); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("%s: got %v, want ECONNREFUSED", host, err)
		}
		c := dial(t, peer, "udp", host, 53)
		c.Write([]byte("hello"))
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("%s, UDP: got %v, want ECONNREFUSED", host, err)
		}
	}
}

func TestNamesAreAnsweredByTheHostsNameservers(t *testing.T) {
	x, peer := newPair(t, Options{DNS: true})
	server, port := listenUDP(t)
	go func() { // answers every question with 198.51.100.7
		b := make([]byte, 512)
		for {
			n, from, err := server.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			server.WriteToUDPAddrPort(answerA(b[:n]), from)
		}
	}()
	x.nameservers = func() ([]netip.AddrPort, error) {
		return []netip.AddrPort{netip.MustParseAddrPort(fmt.Sprintf("127.0.0.1:%d", port))}, nil
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- x.serveDNS(ctx) }()
	got, err := peer.LookupNetIP(t.Context(), "ip4", "www.example.org")
	if err != nil || len(got) != 1 || got[0] != netip.MustParseAddr("198.51.100.7") {
		t.Errorf("got %v, %v, want 198.51.100.7", got, err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("serveDNS: %v", err)
	}
}

func TestParseNameservers(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"# comment\nnameserver 192.0.2.1\nnameserver\t2001:db8::1 \nsearch x\n", "[192.0.2.1:53 [2001:db8::1]:53]"},
		{"nameserver 1.1.1.1\nnameserver 2.2.2.2\nnameserver 3.3.3.3\nnameserver 4.4.4.4", "[1.1.1.1:53 2.2.2.2:53 3.3.3.3:53]"},
		{"nameserver here\n", "[127.0.0.1:53]"},
		{"", "[127.0.0.1:53]"},
	} {
		got, err := netstack.ParseNameservers(strings.NewReader(c.text))
		if err != nil || fmt.Sprint(got) != c.want {
			t.Errorf("%q: got %v, %v, want %s", c.text, got, err, c.want)
		}
	}
}
