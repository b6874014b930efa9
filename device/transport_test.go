package device

import (
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"time"

	"adit/packet"
	"golang.org/x/sys/unix"
)

func newTestTransport(t *testing.T) *transport {
	t.Helper()
	tr := newTransport(false, slog.New(slog.DiscardHandler))
	t.Cleanup(func() { tr.Close() })
	return tr
}

func mustSetUp(t *testing.T, tr *transport, up bool) (port uint16) {
	t.Helper()
	if err := tr.setUp(up); err != nil {
		t.Fatal(err)
	}
	port, _ = tr.settings()
	return port
}

// reads gives every datagram that comes, and then the error.
func reads(tr *transport) (<-chan string, <-chan error) {
	gotc, errc := make(chan string, 16), make(chan error, 1)
	go func() {
		b := packet.NewBatch(packet.Room{})
		for {
			if err := tr.Read(b); err != nil {
				errc <- err
				return
			}
			for i := range b.Len() {
				gotc <- string(b.Packet(i))
			}
		}
	}()
	return gotc, errc
}

// wantReachable sends a text to the port until it comes out.
func wantReachable(t *testing.T, got <-chan string, port uint16, text string) {
	t.Helper()
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port)))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
		c.Write([]byte(text))
		select {
		case s := <-got:
			if s == text {
				return
			}
		case <-time.After(50 * time.Millisecond):
		}
	}
	t.Fatalf("port %d does not receive", port)
}

func TestSocketIsReplacedBeneathARunningRead(t *testing.T) {
	tr := newTestTransport(t)
	got, ended := reads(tr)
	first := mustSetUp(t, tr, true)
	wantReachable(t, got, first, "one")

	if err := tr.configure(ptr(uint16(0)), nil); err != nil { // any other
		t.Fatal(err)
	}
	second, _ := tr.settings()
	if second == first {
		t.Errorf("the port is still %d", first)
	}
	wantReachable(t, got, second, "two")

	mustSetUp(t, tr, false)
	if c, err := net.ListenUDP("udp", &net.UDPAddr{Port: int(second)}); err != nil {
		t.Errorf("the port is not free while the interface is down: %v", err)
	} else {
		c.Close()
	}
	if third := mustSetUp(t, tr, true); third != second {
		t.Errorf("got port %d after down and up, want %d again", third, second)
	}
	wantReachable(t, got, second, "three")

	tr.Close()
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Read ended with %v", err)
	}
	if err := tr.setUp(true); err != nil || tr.udp.Load() != nil {
		t.Error("a closed transport has a socket")
	}
}

func TestWithoutASocketWritesAreLost(t *testing.T) {
	tr := newTestTransport(t)
	b := packet.NewBatch(packet.Room{})
	copy(b.Append(4), "text")
	b.SetPath(0, &packet.Path{Remote: netip.MustParseAddrPort("127.0.0.1:9")})
	if err := tr.Write(b); !errors.Is(err, unix.ENETDOWN) {
		t.Errorf("got %v, want ENETDOWN", err)
	}
	mustSetUp(t, tr, true)
	if err := tr.Write(b); err != nil {
		t.Errorf("got %v with a socket", err)
	}
}

func TestPortIsKeptUntilItIsAnother(t *testing.T) {
	tr := newTestTransport(t)
	port := mustSetUp(t, tr, true)
	u := tr.udp.Load()
	if err := tr.configure(&port, nil); err != nil || tr.udp.Load() != u {
		t.Errorf("the same port made another socket, or failed: %v", err)
	}
}

// An interface that comes up while its port is taken has no socket, until it
// is told of another port, or of the same again.
func TestPortThatWasTakenIsTriedAgain(t *testing.T) {
	tr := newTestTransport(t)
	port := mustSetUp(t, tr, true)
	mustSetUp(t, tr, false)
	other, err := net.ListenUDP("udp", &net.UDPAddr{Port: int(port)})
	if err != nil {
		t.Fatal(err)
	}
	if err := tr.setUp(true); !errors.Is(err, unix.EADDRINUSE) {
		t.Fatalf("got %v, want EADDRINUSE", err)
	}
	if err := tr.configure(&port, nil); !errors.Is(err, unix.EADDRINUSE) {
		t.Fatalf("got %v, want EADDRINUSE", err)
	}
	other.Close()
	if err := tr.configure(&port, nil); err != nil {
		t.Fatal(err)
	}
	got, _ := reads(tr)
	wantReachable(t, got, port, "here")
}
