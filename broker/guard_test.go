package broker

import (
	"net"
	"runtime"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A service of the host's that listens at every address does not get the port on which
// the program has listened, nor the one at which nobody does.
func TestPortsOfTheProgramStayItsOwn(t *testing.T) {
	w := newStreamWorld(t)
	l := w.bound(unix.AF_INET, "127.0.0.1:0", unix.SO_REUSEADDR)
	l.wantListen(ok)
	sa, _ := w.b.LocalName(l.inode(), l.fd)
	native, err := nativeLocal(l.fd)
	if err != nil {
		t.Fatal(err)
	}
	at := l.parse(sa).String()
	l.close()
	for _, port := range []uint16{native.Port(), w.b.lo.nobody.Port()} {
		host, err := net.Listen("tcp4", ":"+strconv.Itoa(int(port))) // with SO_REUSEADDR, as Go does
		if err == nil {
			host.Close()
			t.Errorf("the host took port %d", port)
		}
	}
	s := w.socket(unix.AF_INET, false)
	s.wantConnect(at, unix.ECONNREFUSED)
	// The program itself listens there again, and not twice.
	again, twice := w.socket(unix.AF_INET, false), w.socket(unix.AF_INET, false)
	again.wantBind(at, ok)
	if errno := w.b.Listen(again.inode(), again.fd, 1); errno != ok {
		t.Errorf("listen again: %v", errno)
	}
	if errno := w.b.Listen(again.inode(), again.fd, 2); errno != ok {
		t.Errorf("listen by a socket that listens: %v", errno)
	}
	twice.wantBind(at, unix.EADDRINUSE)
	s = w.socket(unix.AF_INET, false)
	s.wantConnect(at, ok)
}

// Nor does a service of the same user's on the host that shares its port, as the program
// does, and was there before or comes later: whoever connects to the program's listener,
// which is gone, reaches nobody.
func TestServiceThatSharesItsPortIsNotTheProgram(t *testing.T) {
	for _, before := range []bool{true, false} {
		for _, any := range []string{"0.0.0.0", "::"} {
			if fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err == nil {
				unix.Close(fd)
			} else if any == "::" {
				t.Logf("%s: %v", any, err)
				continue
			}
			w := newStreamWorld(t)
			var host int
			port := uint16(0)
			serve := func(port uint16) error {
				family, sa := unix.AF_INET, unix.Sockaddr(&unix.SockaddrInet4{Port: int(port)})
				if any == "::" {
					family, sa = unix.AF_INET6, &unix.SockaddrInet6{Port: int(port)}
				}
				var err error
				if host, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0); err != nil {
					t.Fatal(err)
				}
				share(host)
				if err := unix.Bind(host, sa); err != nil {
					return err
				}
				return unix.Listen(host, 8)
			}
			if before {
				if err := serve(0); err != nil {
					t.Fatal(err)
				}
				at, err := unix.Getsockname(host)
				if err != nil {
					t.Fatal(err)
				}
				port = fromUnix(at).Port()
			} else {
				port = 18080
			}
			at := "127.0.0.1:" + strconv.Itoa(int(port))
			for _, second := range []bool{false, true} {
				l := w.bound(unix.AF_INET, at, unix.SO_REUSEPORT)
				l.wantListen(ok)
				other := l
				if second {
					other = w.bound(unix.AF_INET, at, unix.SO_REUSEPORT)
					other.wantListen(ok)
				}
				s := w.socket(unix.AF_INET, false)
				s.wantConnect(at, ok)
				if !before && !second {
					if err := serve(port); err == nil {
						t.Errorf("%s: the host took port %d", any, port)
					}
				}
				l.close()
				other.close()
				s = w.socket(unix.AF_INET, false)
				s.wantConnect(at, unix.ECONNREFUSED)
			}
			if fd, _, err := unix.Accept(host); err == nil {
				t.Errorf("%s, there before: %v: the program has reached it", any, before)
				unix.Close(fd)
			}
			unix.Close(host)
		}
	}
}

// Where the program has been bound and has not listened nobody is: a service of the
// host's that has the port by now is not.
func TestPortThatWasOnlyBoundIsNobodys(t *testing.T) {
	w := newStreamWorld(t)
	for _, at := range []string{"127.0.0.1:0", "0.0.0.0:0", "[::]:0"} {
		family := unix.AF_INET
		if at[0] == '[' {
			family = unix.AF_INET6
		}
		var port uint16
		var host net.Listener
		// At other addresses than the program's, others may have the port it got.
		waitUntil(t, func() (is bool) {
			bound := w.socket(family, false)
			bound.wantBind(at, ok)
			sa, _ := w.b.LocalName(bound.inode(), bound.fd)
			port = bound.parse(sa).Port()
			bound.close()
			var err error
			host, err = net.Listen("tcp4", ":"+strconv.Itoa(int(port)))
			return err == nil
		})
		s := w.socket(unix.AF_INET, false)
		s.wantConnect("127.0.0.1:"+strconv.Itoa(int(port)), unix.ECONNREFUSED)
		host.Close()
	}
}

// A run may be long: what is remembered of connections goes with them, and listeners
// are remembered whatever else is bound.
func TestNothingIsLeftOfManySockets(t *testing.T) {
	w := newStreamWorld(t)
	w.echo("7")
	l := w.socket(unix.AF_INET, false)
	l.wantBind("127.0.0.1:8080", ok)
	if errno := w.b.Listen(l.inode(), l.fd, 1); errno != ok {
		t.Fatal(errno)
	}
	for range remembered + 1000 {
		s := w.socket(unix.AF_INET, false)
		s.wantBind("127.0.0.1:0", ok)
		s.close()
	}
	for range 300 {
		s := w.socket(unix.AF_INET, false)
		s.wantConnect("10.9.0.1:7", ok)
		s.close()
	}
	left := func() int {
		w.b.streams.mu.Lock()
		defer w.b.streams.mu.Unlock()
		return len(w.b.streams.names) + len(w.b.streams.dials)
	}
	for end := time.Now().Add(10 * time.Second); left() > 0 && time.Now().Before(end); {
		runtime.Gosched()
	}
	if n := left(); n > 0 {
		t.Errorf("%d connections are remembered after their end", n)
	}
	if n := len(w.b.streams.binds); n > remembered {
		t.Errorf("%d addresses are remembered", n)
	}
	s := w.socket(unix.AF_INET, false)
	s.wantConnect("127.0.0.1:8080", ok)
}

// Who cannot see who listens drops no guard: where there are no descriptors left, nobody
// seems to.
func TestGuardsStayWhereNothingCanBeSeen(t *testing.T) {
	w := newStreamWorld(t)
	l := w.bound(unix.AF_INET, "127.0.0.1:0")
	l.wantListen(ok)
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	none := unix.Rlimit{Cur: 3, Max: old.Max}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &none); err != nil {
		t.Fatal(err)
	}
	w.b.streams.mu.Lock()
	w.b.streams.dropGuards()
	w.b.streams.mu.Unlock()
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	sa, _ := w.b.LocalName(l.inode(), l.fd)
	s := w.socket(unix.AF_INET, false)
	s.wantConnect(l.parse(sa).String(), ok)
}

// Nor of many listeners; the ports of those that are there stay the program's own, and
// of what is bound to one where it has listened.
func TestGuardsGoWithManyListeners(t *testing.T) {
	w := newStreamWorld(t)
	first := w.bound(unix.AF_INET, "127.0.0.1:0", unix.SO_REUSEADDR)
	first.wantListen(ok)
	sa, _ := w.b.LocalName(first.inode(), first.fd)
	again := w.bound(unix.AF_INET6, "[::1]:8081")
	again.wantListen(ok)
	again.close()
	again = w.bound(unix.AF_INET6, "[::1]:8081")
	for range 3 * manyGuards {
		s := w.bound(unix.AF_INET, "127.0.0.1:0")
		s.wantListen(ok)
		s.close()
	}
	if n := len(w.b.streams.guards); n > manyGuards {
		t.Errorf("%d guards are left, want %d at most", n, manyGuards)
	}
	s := w.socket(unix.AF_INET, false)
	s.wantConnect(first.parse(sa).String(), ok)
	again.wantListen(ok)
	s = w.socket(unix.AF_INET6, false)
	s.wantConnect("[::1]:8081", ok)
}
