package broker

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// What listens at an exposed port is reached from the tunnel, by a peer whose
// address it is told. At any other port, and on loopback, it is not.
func TestExposedListenersAreReachedFromTheTunnel(t *testing.T) {
	near, far := newNetwork(t)
	b, err := New(Config{Dialer: near, Addresses: []netip.Addr{near4, near6}, Exposed: func(port uint16) bool { return port == 80 }})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	w := &streamWorld{t: t, b: b, far: far}
	for _, c := range []struct {
		family     int
		listen, to string
		reached    bool
	}{
		{unix.AF_INET, "0.0.0.0:80", "10.9.0.2:80", true},
		{unix.AF_INET, "10.9.0.2:80", "10.9.0.2:80", true},
		{unix.AF_INET6, "[::]:80", "[fd09::2]:80", true},
		{unix.AF_INET6, "[::]:80", "10.9.0.2:80", true},
		{unix.AF_INET, "127.0.0.1:80", "10.9.0.2:80", false},
		{unix.AF_INET, "0.0.0.0:81", "10.9.0.2:81", false},
	} {
		l := w.socket(c.family, false)
		unix.SetsockoptInt(l.fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
		l.wantBind(c.listen, ok)
		if errno := b.Listen(l.inode(), l.fd, 8); errno != ok {
			t.Fatalf("listen: %v", errno)
		}
		visitor, err := far.DialContext(context.Background(), "tcp", c.to)
		if err == nil && !c.reached {
			// The port has been exposed before, and nobody is there now.
			visitor.SetReadDeadline(time.Now().Add(10 * time.Second))
			_, err = visitor.Read(make([]byte, 1))
			visitor.Close()
		}
		if c.reached != (err == nil) {
			t.Fatalf("%s, listening at %s: got %v, want it reached: %v", c.to, c.listen, err, c.reached)
		}
		if !c.reached {
			l.close()
			continue
		}
		if !b.Renames(l.fd) {
			t.Errorf("%s: the kernel would name the visitor", c.listen)
		}
		fd, peer, errno := b.Accept(context.Background(), l.fd, 0, nil)
		if errno != ok {
			t.Fatalf("accept: %v", errno)
		}
		a := &testStream{w: w, fd: fd, family: c.family}
		local, remote := a.names()
		if want := addrPortOf(visitor.LocalAddr()); remote != want || a.parse(peer) != want {
			t.Errorf("%s: the visitor is %v and %v, want %v", c.to, remote, a.parse(peer), want)
		}
		if want := addr(c.to); local != want {
			t.Errorf("%s: the server is called %v", c.to, local)
		}
		io.WriteString(visitor, "hello")
		got := make([]byte, 5)
		if conn := a.conn(); true {
			io.ReadFull(conn, got)
			conn.Close()
		}
		if string(got) != "hello" {
			t.Errorf("got %q", got)
		}
		a.close()
		l.close()
		visitor.Close()
		// Nobody is there any more.
		if c, err := far.DialContext(context.Background(), "tcp", c.to); err == nil {
			c.SetReadDeadline(time.Now().Add(10 * time.Second))
			if _, err := c.Read(make([]byte, 1)); !errors.Is(err, unix.ECONNRESET) {
				t.Errorf("a visitor of nobody: got %v, want ECONNRESET", err)
			}
			c.Close()
		}
	}
}
