package netstack

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"adit/packet"

	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

func mustListen(t testing.TB, s *Stack, network, address string) net.Listener {
	t.Helper()
	l, err := s.Listen(t.Context(), network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func mustDial(t testing.TB, s *Stack, network, address string) net.Conn {
	t.Helper()
	c, err := s.DialContext(t.Context(), network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// serveEcho accepts connections of l and sends back what comes until its end.
func serveEcho(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			io.Copy(c, c)
		}()
	}
}

func TestStreamsArriveByteExact(t *testing.T) {
	p := newPair(t, Config{})
	go serveEcho(mustListen(t, p.far, "tcp", ":80"))
	for _, address := range []string{"192.0.2.1:80", "[2001:db8::1]:80"} {
		c := mustDial(t, p.near, "tcp", address)
		sent, got := sha256.New(), sha256.New()
		const size = 8 << 20
		go func() {
			io.Copy(io.MultiWriter(c, sent), io.LimitReader(&counter{}, size))
			c.(Conn).CloseWrite()
		}()
		n, err := io.Copy(got, c)
		if n != size || err != nil {
			t.Fatalf("%s: got %d bytes, %v, want %d", address, n, err, size)
		}
		if !bytes.Equal(sent.Sum(nil), got.Sum(nil)) {
			t.Errorf("%s: what came back is not what was sent", address)
		}
	}
}

func TestStreamsOfAnyMTU(t *testing.T) {
	for _, mtu := range []int{576, 1280, 1420, 9000, 65535} {
		near := tunnelConfig(nil)
		near.MTU = mtu
		p := newPair(t, near)
		go serveEcho(mustListen(t, p.far, "tcp", ":80"))
		for _, address := range []string{"192.0.2.1:80", "[2001:db8::1]:80"} {
			if mtu < 1280 && address[0] == '[' {
				continue // RFC 8200 §5: no IPv6 below
			}
			c := mustDial(t, p.near, "tcp", address)
			c.SetDeadline(time.Now().Add(20 * time.Second))
			const size = 1 << 20
			go io.Copy(c, io.LimitReader(&counter{}, size))
			if n, err := io.Copy(io.Discard, io.LimitReader(c, size)); n != size || err != nil {
				t.Errorf("MTU %d, %s: got %d bytes, %v, want %d", mtu, address, n, err, size)
			}
			c.Close()
		}
	}
}

// A counter is a reader of bytes that do not repeat soon.
type counter struct{ n uint32 }

func (c *counter) Read(b []byte) (int, error) {
	for i := range b {
		c.n = c.n*1664525 + 1013904223
		b[i] = byte(c.n >> 24)
	}
	return len(b), nil
}

func TestDialErrorsAreTheKernelsErrno(t *testing.T) {
	p := newPair(t, Config{})
	for _, c := range []struct {
		network, address string
		want             error
	}{
		{"tcp", "192.0.2.1:1", syscall.ECONNREFUSED},
		{"tcp", "[2001:db8::1]:1", syscall.ECONNREFUSED},
		{"tcp", "198.51.100.1:80", syscall.ENETUNREACH},
		{"tcp6", "[2001:dead::1]:80", syscall.ENETUNREACH},
		{"udp", "198.51.100.1:80", syscall.ENETUNREACH},
		{"tcp", "127.0.0.1:80", syscall.ENETUNREACH},
	} {
		conn, err := p.near.DialContext(t.Context(), c.network, c.address)
		if err == nil {
			conn.Close()
		}
		var op *net.OpError
		var sys *os.SyscallError
		if !errors.Is(err, c.want) || !errors.As(err, &op) || !errors.As(err, &sys) {
			t.Errorf("%s %s: got %v, want an OpError with %v", c.network, c.address, err, c.want)
		} else if op.Op != "dial" || op.Net != c.network || op.Addr.String() != c.address || sys.Syscall != "connect" {
			t.Errorf("%s %s: got %v: not what package net says", c.network, c.address, err)
		}
	}
}

func TestDialErrorsOfICMP(t *testing.T) {
	for _, c := range []struct {
		far  string
		code uint8
		want error
	}{
		{far4, packet.UnreachNet, syscall.ENETUNREACH},
		{far4, packet.UnreachHost, syscall.EHOSTUNREACH},
		{far6, packet.UnreachNoRoute6, syscall.ENETUNREACH},
		{far6, packet.UnreachAddress6, syscall.ENETUNREACH}, // see simplifyUnreachable6
		{far6, packet.UnreachPort6, syscall.ECONNREFUSED},
	} {
		s := newTestStack(t, tunnelConfig(nil))
		syns := make(chan []byte, 8)
		s.SetUpstream(func(b *packet.Batch) {
			for i := range b.Len() {
				syns <- bytes.Clone(b.Packet(i))
			}
		})
		go func() {
			syn := <-syns
			s.Device().Write(batchOf(packet.AppendUnreachable(nil, syn, netip.Addr{}, c.code)))
		}()
		_, err := s.DialContext(t.Context(), "tcp", net.JoinHostPort(c.far, "80"))
		if !errors.Is(err, c.want) {
			t.Errorf("%s code %d: got %v, want %v", c.far, c.code, err, c.want)
		}
	}
}

func TestNoIPv6InTheTunnelIsNetworkUnreachable(t *testing.T) {
	s := newTestStack(t, Config{Addresses: mustPrefixes("10.9.0.2/32"), Routes: mustPrefixes("0.0.0.0/0", "::/0")})
	_, err := s.DialContext(t.Context(), "tcp", "[2001:db8::1]:80")
	if !errors.Is(err, syscall.ENETUNREACH) {
		t.Errorf("got %v, want ENETUNREACH", err)
	}
}

func TestDialEndsWithItsContext(t *testing.T) {
	s := newTestStack(t, tunnelConfig(nil)) // nobody answers
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err := s.DialContext(ctx, "tcp", "192.0.2.1:80")
	var timeout net.Error
	if !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("deadline: got %v, want a timeout", err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	if _, err = s.DialContext(ctx, "tcp", "192.0.2.1:80"); !errors.Is(err, context.Canceled) {
		t.Errorf("cancel: got %v, want context.Canceled", err)
	}
}

func TestResetIsConnectionReset(t *testing.T) {
	p := newPair(t, Config{})
	l := mustListen(t, p.far, "tcp", ":80")
	c := mustDial(t, p.near, "tcp", "192.0.2.1:80")
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	far.(Conn).Reset()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("Read: got %v, want ECONNRESET", err)
	}
}

// What comes after the far end's FIN is no data, but how the connection ends.
func TestEndOfAConnectionIsWaitedFor(t *testing.T) {
	for _, row := range []struct {
		name      string
		near, far func(near, far Conn)
		want      error
	}{
		{"in good order", func(near, _ Conn) { near.CloseWrite() }, func(_, far Conn) { far.Close() }, nil},
		{"broken", func(Conn, Conn) {}, func(_, far Conn) { far.Reset() }, syscall.EPIPE},
		{"broken after both have said all", func(near, _ Conn) { near.CloseWrite() }, func(_, far Conn) {}, nil},
		{"given up", func(Conn, Conn) {}, func(near, _ Conn) { near.Close() }, net.ErrClosed},
		{"given up, and over", func(near, _ Conn) {
			near.Close()
			for tcp.EndpointState(near.ep.State()) != tcp.StateClose {
				runtime.Gosched() // the far end's last ACK is on its way
			}
		}, func(Conn, Conn) {}, net.ErrClosed},
	} {
		p := newPair(t, Config{})
		l := mustListen(t, p.far, "tcp", ":80")
		near := mustDial(t, p.near, "tcp", "192.0.2.1:80").(Conn)
		accepted, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		far := accepted.(Conn)
		far.CloseWrite()
		if _, err := io.ReadAll(near); err != nil {
			t.Fatal(err)
		}
		row.near(near, far)
		end := make(chan error, 1)
		go func() { end <- near.WaitEnd() }()
		row.far(near, far)
		if err := <-end; !errors.Is(err, row.want) {
			t.Errorf("%s: got %v, want %v", row.name, err, row.want)
		}
		l.Close()
	}
}

func TestHalfCloseKeepsTheOtherHalf(t *testing.T) {
	p := newPair(t, Config{})
	l := mustListen(t, p.far, "tcp", ":80")
	c := mustDial(t, p.near, "tcp", "192.0.2.1:80")
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	io.WriteString(c, "question")
	c.(Conn).CloseWrite()
	if got, err := io.ReadAll(far); string(got) != "question" || err != nil {
		t.Fatalf("far end: got %q, %v", got, err)
	}
	io.WriteString(far, "answer")
	far.Close()
	if got, err := io.ReadAll(c); string(got) != "answer" || err != nil {
		t.Errorf("near end: got %q, %v, want the answer", got, err)
	}
	if _, err := c.Write([]byte("more")); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("Write after CloseWrite: got %v, want EPIPE", err)
	}
}

func TestDeadlines(t *testing.T) {
	p := newPair(t, Config{})
	l := mustListen(t, p.far, "tcp", ":80")
	c := mustDial(t, p.near, "tcp", "192.0.2.1:80")
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	b := make([]byte, 1)
	c.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
	if _, err := c.Read(b); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a deadline that passes during Read: got %v", err)
	}
	if _, err := c.Read(b); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a deadline that has passed: got %v", err)
	}
	c.SetReadDeadline(time.Time{})
	far.Write([]byte{7})
	if _, err := c.Read(b); err != nil || b[0] != 7 {
		t.Errorf("after the deadline was lifted: got %v, %v", b, err)
	}
	done := make(chan error)
	go func() { _, err := c.Read(b); done <- err }()
	c.SetReadDeadline(past)
	if err := <-done; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a deadline set while Read waits: got %v", err)
	}
	c.SetWriteDeadline(past)
	if _, err := c.Write(b); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Write: got %v", err)
	}
	c.SetDeadline(time.Time{})
	go func() { _, err := c.Read(b); done <- err }()
	c.Close()
	if err := <-done; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Close while Read waits: got %v, want net.ErrClosed", err)
	}
	if err := c.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("second Close: got %v, want net.ErrClosed", err)
	}
}

func TestWriteWaitsForSpaceAndKeepsItsDeadline(t *testing.T) {
	p := newPair(t, Config{})
	l := mustListen(t, p.far, "tcp", ":80")
	c := mustDial(t, p.near, "tcp", "192.0.2.1:80")
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	// There is space for what is written first, whenever this goroutine gets to it:
	// the time begins behind that.
	begin := readerFunc(func([]byte) (int, error) {
		c.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
		return 0, io.EOF
	})
	n, err := io.Copy(c, io.MultiReader(strings.NewReader("some"), begin, &counter{})) // nobody reads
	if !errors.Is(err, os.ErrDeadlineExceeded) || n == 0 {
		t.Errorf("got %d bytes, %v, want a timeout after some", n, err)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

func TestDatagrams(t *testing.T) {
	p := newPair(t, Config{})
	for _, address := range []string{"192.0.2.1:7", "[2001:db8::1]:7"} {
		far, err := p.far.ListenPacket(t.Context(), "udp", address)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			b := make([]byte, 65535)
			for {
				n, from, err := far.ReadFrom(b)
				if err != nil {
					return
				}
				far.WriteTo(b[:n], from)
			}
		}()
		c := mustDial(t, p.near, "udp", address)
		unconnected, err := p.near.ListenPacket(t.Context(), "udp", ":0")
		if err != nil {
			t.Fatal(err)
		}
		for _, size := range []int{0, 1, 1372, 4000, 65000} { // the last two in fragments
			want := make([]byte, size)
			(&counter{}).Read(want)
			got := make([]byte, 65535)
			c.SetDeadline(time.Now().Add(10 * time.Second))
			unconnected.SetDeadline(time.Now().Add(10 * time.Second))
			if _, err := c.Write(want); err != nil {
				t.Fatalf("%s, %d bytes: %v", address, size, err)
			}
			if n, err := c.Read(got); err != nil || !bytes.Equal(got[:n], want) {
				t.Errorf("%s, %d bytes: got %d, %v", address, size, n, err)
			}
			if _, err := unconnected.WriteTo(want, c.RemoteAddr()); err != nil {
				t.Fatalf("%s, %d bytes: %v", address, size, err)
			}
			if n, from, err := unconnected.ReadFrom(got); err != nil || !bytes.Equal(got[:n], want) || from.String() != address {
				t.Errorf("%s, %d bytes: got %d from %v, %v", address, size, n, from, err)
			}
		}
		far.Close()
		c.SetReadDeadline(time.Now().Add(10 * time.Second))
		c.Write([]byte("anybody there?"))
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("%s, closed port: got %v, want ECONNREFUSED", address, err)
		}
		unconnected.Close()
	}
	if _, err := p.near.DialContext(t.Context(), "udp", "192.0.2.1:0"); err == nil {
		t.Log("connecting UDP to port 0 is allowed, as on Linux")
	}
}

func TestOversizedDatagramIsMessageTooLong(t *testing.T) {
	p := newPair(t, Config{})
	c := mustDial(t, p.near, "udp", "192.0.2.1:7")
	if _, err := c.Write(make([]byte, 65536)); !errors.Is(err, syscall.EMSGSIZE) {
		t.Errorf("got %v, want EMSGSIZE", err)
	}
}

func TestListenerIsReachedOnlyThroughExposedPorts(t *testing.T) {
	near := tunnelConfig(nil)
	near.Expose = Exposed{TCP: []uint16{8080}}
	p := newPair(t, near)
	go serveEcho(mustListen(t, p.near, "tcp", ":8080"))
	go serveEcho(mustListen(t, p.near, "tcp", ":8081"))
	mustDial(t, p.far, "tcp", "10.9.0.2:8080")
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := p.far.DialContext(ctx, "tcp", "10.9.0.2:8081"); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("port that is not exposed: got %v, want silence", err)
	}
}

func TestBindErrors(t *testing.T) {
	p := newPair(t, Config{})
	mustListen(t, p.near, "tcp", ":80")
	if _, err := p.near.Listen(t.Context(), "tcp", ":80"); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("port in use: got %v, want EADDRINUSE", err)
	}
	if _, err := p.near.Listen(t.Context(), "tcp", "10.1.1.1:80"); !errors.Is(err, syscall.EADDRNOTAVAIL) {
		t.Errorf("foreign address: got %v, want EADDRNOTAVAIL", err)
	}
	if _, err := p.near.Listen(t.Context(), "udp", ":80"); err == nil {
		t.Error("Listen made a UDP socket")
	}
	if _, err := p.near.DialContext(t.Context(), "ip", "192.0.2.1:80"); !errors.As(err, new(net.UnknownNetworkError)) {
		t.Errorf("network ip: got %v, want UnknownNetworkError", err)
	}
}

func TestFlowsOfGVisorAndOfTheProgramDoNotMix(t *testing.T) {
	capture := newPipe()
	near := tunnelConfig(capture)
	p := newPair(t, near)
	go serveEcho(mustListen(t, p.far, "tcp", ":80"))
	c := mustDial(t, p.near, "tcp", "192.0.2.1:80")
	if port := c.LocalAddr().(*net.TCPAddr).Port; port < firstLocalPort {
		t.Errorf("our own connection has port %d, below %d", port, firstLocalPort)
	}
	io.WriteString(c, "hello")
	if _, err := io.ReadFull(c, make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	if len(capture.out) > 0 {
		t.Errorf("the program got a packet of our own connection: %x", <-capture.out)
	}
	// The same port with another far end is the program's.
	local := uint16(c.LocalAddr().(*net.TCPAddr).Port)
	theirs := tcpPacket("192.0.2.9", ours4, 80, local, tcpACK)
	p.near.Device().Write(batchOf(theirs))
	if got := capture.wantOut(t, "segment of the program's connection"); !bytes.Equal(got, theirs) {
		t.Errorf("got %x, want %x", got, theirs)
	}
}

// TestFragmentsReachWhoGotTheFirstOne: only that one says whose they are.
func TestFragmentsReachWhoGotTheFirstOne(t *testing.T) {
	p := newPair(t, tunnelConfig(newPipe()))
	far, err := p.far.ListenPacket(t.Context(), "udp", "192.0.2.1:7")
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	go func() {
		b := make([]byte, 16)
		if _, from, err := far.ReadFrom(b); err == nil {
			far.WriteTo(make([]byte, 5000), from)
		}
	}()
	c := mustDial(t, p.near, "udp", "192.0.2.1:7")
	c.SetDeadline(time.Now().Add(10 * time.Second))
	c.Write([]byte("send me much"))
	if n, err := c.Read(make([]byte, 8000)); n != 5000 || err != nil {
		t.Errorf("got %d bytes, %v, want 5000", n, err)
	}
}

func TestConnectionToOurselvesStaysInside(t *testing.T) {
	p := newPair(t, Config{})
	go serveEcho(mustListen(t, p.near, "tcp", ":80"))
	p.near.SetUpstream(func(b *packet.Batch) { t.Errorf("%d packets left", b.Len()) })
	for _, host := range []string{ours4, ours6} {
		c := mustDial(t, p.near, "tcp", net.JoinHostPort(host, "80"))
		const size = 1 << 20 // in super-packets
		go io.Copy(c, io.LimitReader(&counter{}, size))
		if n, err := io.Copy(io.Discard, io.LimitReader(c, size)); n != size || err != nil {
			t.Errorf("%s: got %d bytes, %v, want %d", host, n, err, size)
		}
		c.Close()
	}
}

func TestCloseResetsConnections(t *testing.T) {
	p := newPair(t, Config{})
	l := mustListen(t, p.far, "tcp", ":80")
	mustDial(t, p.near, "tcp", "192.0.2.1:80")
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	p.near.Close()
	far.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := far.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the far end got %v, want ECONNRESET", err)
	}
}

func TestNothingIsSentAfterTheDeviceIsClosed(t *testing.T) {
	p := newPair(t, Config{})
	c := mustDial(t, p.near, "udp", "192.0.2.1:7")
	p.near.SetUpstream(func(*packet.Batch) { t.Error("a packet was sent") })
	p.near.Device().Close()
	c.Write([]byte("hello"))
	p.near.Close()
}

func TestCloseEndsEveryWaitingCall(t *testing.T) {
	p := newPair(t, Config{})
	l := mustListen(t, p.far, "tcp", ":80")
	listening := mustListen(t, p.near, "tcp", ":81")
	c := mustDial(t, p.near, "tcp", "192.0.2.1:80")
	if _, err := l.Accept(); err != nil {
		t.Fatal(err)
	}
	u := mustDial(t, p.near, "udp", "192.0.2.1:7")
	var wg sync.WaitGroup
	for _, call := range []func() error{
		func() error { _, err := c.Read(make([]byte, 1)); return err },
		func() error { _, err := u.Read(make([]byte, 1)); return err },
		func() error { _, err := listening.Accept(); return err },
		func() error { _, err := p.near.DialContext(context.Background(), "tcp", "10.77.0.1:80"); return err },
	} {
		wg.Go(func() {
			if err := call(); err == nil {
				t.Error("a call succeeded although the Stack was closed")
			}
		})
	}
	p.near.Close()
	wg.Wait()
	if _, err := p.near.DialContext(t.Context(), "tcp", "192.0.2.1:80"); !errors.Is(err, net.ErrClosed) {
		t.Errorf("dial after Close: got %v, want net.ErrClosed", err)
	}
}

// Source says what a UDP socket would be told, of all that there is.
func TestSourceIsThatOfASocket(t *testing.T) {
	p := newPair(t, Config{})
	for _, far := range []string{"192.0.2.1", "2001:db8::1", "10.9.0.2", "198.51.100.1", "2001:dead::1", "127.0.0.1", "::1", "0.0.0.0", "255.255.255.255", "224.0.0.1", "ff02::1"} {
		addr := netip.MustParseAddr(far)
		got, gotErr := p.near.Source(addr)
		var want netip.Addr
		c, wantErr := p.near.DialContext(t.Context(), "udp", netip.AddrPortFrom(addr, 1).String())
		if wantErr == nil {
			want = c.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()
			c.Close()
		}
		var gotErrno, wantErrno syscall.Errno
		errors.As(gotErr, &gotErrno)
		errors.As(wantErr, &wantErrno)
		if got != want || gotErrno != wantErrno || (gotErr == nil) != (wantErr == nil) {
			t.Errorf("%s: got %v, %v; a socket is told %v, %v", far, got, gotErr, want, wantErr)
		}
	}
}

// What is done while the SYN is on its way is done once, and not at all if there is none.
func TestDialTCPTellsWhenTheSYNHasLeft(t *testing.T) {
	p := newPair(t, Config{})
	l := mustListen(t, p.far, "tcp", ":80")
	defer l.Close()
	left := 0
	c, err := p.near.DialTCP(t.Context(), netip.MustParseAddrPort("192.0.2.1:80"), func() { left++ })
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if left != 1 {
		t.Errorf("it was told %d times, want once", left)
	}
	if _, err := p.near.DialTCP(t.Context(), netip.MustParseAddrPort("198.51.100.1:80"), func() { left++ }); err == nil || left != 1 {
		t.Errorf("no way: got %v, told %d times more, want an error and none", err, left-1)
	}
}
