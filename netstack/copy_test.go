package netstack

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// kernelPair returns the two ends of a TCP connection on loopback.
func kernelPair(t *testing.T) (a, b net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if a, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if b, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

// proxied returns a connection of the kernel's that a proxy carries, by io.Copy,
// to the server at address, and what ends the proxy's copies, there and back.
func proxied(t *testing.T, s *Stack, address string) (near net.Conn, there, back <-chan error) {
	t.Helper()
	near, theirs := kernelPair(t)
	c := mustDial(t, s, "tcp", address)
	up, down := make(chan error, 1), make(chan error, 1)
	go func() {
		_, err := io.Copy(c, theirs)
		c.(Conn).CloseWrite()
		up <- err
	}()
	go func() {
		_, err := io.Copy(theirs, c)
		theirs.(*net.TCPConn).CloseWrite()
		down <- err
	}()
	return near, up, down
}

func TestCopyThroughAProxyIsByteExact(t *testing.T) {
	p := newPair(t, Config{})
	go serveEcho(mustListen(t, p.far, "tcp", ":80"))
	c, there, back := proxied(t, p.near, "192.0.2.1:80")
	sent, got := sha256.New(), sha256.New()
	const size = 8 << 20
	go func() {
		io.Copy(io.MultiWriter(c, sent), io.LimitReader(&counter{}, size))
		c.(*net.TCPConn).CloseWrite()
	}()
	n, err := io.Copy(got, c)
	if n != size || err != nil {
		t.Fatalf("got %d bytes, %v, want %d", n, err, size)
	}
	if !bytes.Equal(sent.Sum(nil), got.Sum(nil)) {
		t.Error("what came back is not what was sent")
	}
	for _, ended := range []<-chan error{there, back} {
		if err := <-ended; err != nil {
			t.Errorf("a copy ended with %v, want nil after the end of what it reads", err)
		}
	}
}

func TestIdleCopiesHoldNoBuffers(t *testing.T) {
	p := newPair(t, Config{})
	go serveEcho(mustListen(t, p.far, "tcp", ":80"))
	const n = 50
	held := func() uint64 {
		for range 3 { // pools give up what they have in two
			runtime.GC()
		}
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := held()
	buf := make([]byte, 5)
	for range n {
		c, _, _ := proxied(t, p.near, "192.0.2.1:80")
		if _, err := c.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, buf); err != nil {
			t.Fatal(err)
		}
	}
	// Two copies each; a buffer of 256 KiB would show even if every tenth had one.
	if per := int64(held()-before) / n; per > 48<<10 {
		t.Errorf("an idle connection holds %d bytes", per)
	}
}

// A peeked is what protocol detection makes: some was read ahead, and comes first.
type peeked struct {
	*net.TCPConn
	ahead io.Reader
}

func (c *peeked) Read(b []byte) (int, error) { return c.ahead.Read(b) }

func TestCopyReadsByAConnectionsOwnRead(t *testing.T) {
	p := newPair(t, Config{})
	go serveEcho(mustListen(t, p.far, "tcp", ":80"))
	near, theirs := kernelPair(t)
	io.WriteString(near, " world")
	near.(*net.TCPConn).CloseWrite()
	c := mustDial(t, p.near, "tcp", "192.0.2.1:80").(Conn)
	r := &peeked{theirs.(*net.TCPConn), io.MultiReader(strings.NewReader("hello"), theirs)}
	if n, err := c.ReadFrom(r); n != 11 || err != nil {
		t.Errorf("sent %d bytes, %v, want 11", n, err)
	}
	c.CloseWrite()
	if got, err := io.ReadAll(c); string(got) != "hello world" || err != nil {
		t.Errorf("got %q, %v, want \"hello world\"", got, err)
	}
}

func TestCopyEndsWithTheErrorOfItsSide(t *testing.T) {
	p := newPair(t, Config{})
	go serveEcho(mustListen(t, p.far, "tcp", ":80"))
	t.Run("deadline", func(t *testing.T) {
		c := mustDial(t, p.near, "tcp", "192.0.2.1:80")
		c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		if _, err := io.Copy(io.Discard, c); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("got %v, want the deadline", err)
		}
	})
	t.Run("closed", func(t *testing.T) {
		c := mustDial(t, p.near, "tcp", "192.0.2.1:80")
		time.AfterFunc(20*time.Millisecond, func() { c.Close() })
		if _, err := c.(Conn).WriteTo(io.Discard); !errors.Is(err, net.ErrClosed) {
			t.Errorf("got %v, want %v", err, net.ErrClosed)
		}
	})
	t.Run("reset by the kernel's end", func(t *testing.T) {
		near, there, _ := proxied(t, p.near, "192.0.2.1:80")
		near.(*net.TCPConn).SetLinger(0)
		near.Close()
		// The one that reads from the kernel. The other may end first, without one.
		if err := <-there; !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("got %v, want %v", err, syscall.ECONNRESET)
		}
	})
	t.Run("a reader that fails", func(t *testing.T) {
		c := mustDial(t, p.near, "tcp", "192.0.2.1:80")
		broken := errors.New("broken")
		n, err := io.Copy(c, io.MultiReader(bytes.NewReader(make([]byte, 1000)), failing{broken}))
		if n != 1000 || err != broken {
			t.Errorf("got %d bytes, %v, want 1000, %v", n, err, broken)
		}
	})
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestConnectionsNeedNoGoroutines(t *testing.T) {
	p := newPair(t, Config{})
	l := mustListen(t, p.far, "tcp", ":80")
	const n = 1000
	before := runtime.NumGoroutine()
	for range n {
		mustDial(t, p.near, "tcp", "192.0.2.1:80")
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
	}
	if more := runtime.NumGoroutine() - before; more > 20 {
		t.Errorf("%d connections brought %d goroutines, want none of their own", n, more)
	}
}
