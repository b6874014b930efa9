package broker

import (
	"bytes"
	"context"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// addresses are such as programs have in their memory.
func addresses() [][]byte {
	return [][]byte{nil, {2}, {2, 0}, sockaddr(unix.AF_INET, at(far4, 7000)), sockaddr(unix.AF_INET6, at(far6, 7000)),
		sockaddr(unix.AF_INET6, at(far4, 0)), sockaddr(unix.AF_INET, addr("127.0.0.1:53")), sockaddr(unix.AF_INET6, addr("[::]:8080")),
		sockaddr(unix.AF_INET, netip.AddrPort{}), make([]byte, 128), unixAddress("/run/socket")}
}

// An address that was understood is said the same way again.
func FuzzSockaddr(f *testing.F) {
	for i, sa := range addresses() {
		f.Add(i%2 == 0, sa)
	}
	f.Fuzz(func(t *testing.T, is6 bool, sa []byte) {
		family := unix.AF_INET
		if is6 {
			family = unix.AF_INET6
		}
		a, errno := parseSockaddr(family, sa)
		if errno != ok && a.IsValid() {
			t.Errorf("%x: got %v with %v", sa, a, errno)
		}
		if errno == ok {
			if again, errno := parseSockaddr(family, sockaddr(family, a)); errno != ok || again != a {
				t.Errorf("%x: %v became %v, %v", sa, a, again, errno)
			}
		}
		if path, is := unixPath(sa); is && (path == "" || len(path) > 108 || bytes.IndexByte([]byte(path), 0) >= 0) {
			t.Errorf("%x: the path %q", sa, path)
		}
	})
}

// A program may call with any bytes for the address of a TCP socket: there is an errno
// for each, and the socket can be used anew afterwards.
func FuzzCallsOnStreams(f *testing.F) {
	w := newStreamWorld(f)
	for i, sa := range addresses() {
		f.Add(i%2 == 0, byte(i), sa)
	}
	f.Fuzz(func(t *testing.T, is6 bool, calls byte, sa []byte) {
		family := unix.AF_INET
		if is6 {
			family = unix.AF_INET6
		}
		fd, errno := w.b.NewStream(family, true)
		if errno != ok {
			t.Fatal(errno)
		}
		defer unix.Close(fd)
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			t.Fatal(err)
		}
		for range 4 {
			switch calls & 3 {
			case 0, 1:
				w.b.Connect(context.Background(), st.Ino, fd, sa, func() {})
			case 2:
				w.b.Bind(st.Ino, fd, sa)
			case 3:
				w.b.Listen(st.Ino, fd, int(int8(calls)))
			}
			calls >>= 2
		}
		if name, errno := w.b.LocalName(st.Ino, fd); errno != ok || Family(name) != family {
			t.Errorf("getsockname: %x, %v", name, errno)
		}
		w.b.PeerName(st.Ino, fd)
		w.b.SocketError(st.Ino, fd)
		// Ends what is pending.
		w.b.Connect(context.Background(), st.Ino, fd, unspecified, func() {})
	})
}
