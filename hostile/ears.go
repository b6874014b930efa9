package hostile

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// An ear is a listener: a socket for datagrams, or one that accepts connections.
type ear interface {
	io.Closer
	SetDeadline(time.Time) error
	SyscallConn() (syscall.RawConn, error)
}

// lastWords is how long Close listens on for what was sent before it: that waits
// in the queue of a socket until its goroutine comes to run, however late.
const lastWords = 200 * time.Millisecond

// goesOn reports whether an ear that err has ended is to listen on: its time was over
// before it came to what waits for it.
func goesOn(e ear, err error) bool {
	raw, rawErr := e.SyscallConn()
	if rawErr != nil || !errors.Is(err, os.ErrDeadlineExceeded) {
		return false
	}
	waiting := 0
	raw.Control(func(fd uintptr) {
		waiting, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
	})
	return waiting > 0 && e.SetDeadline(time.Now().Add(lastWords)) == nil
}

// listen opens UDP and TCP on the host's addresses and its loopback, all at one
// port; the ports above it, one for each attempt, stay free.
func (h *Host) listen() error {
	w := &h.World
	addrs := []netip.Addr{w.Host4, netip.AddrFrom4([4]byte{127, 0, 0, 1})}
	if w.Host6.IsValid() {
		addrs = append(addrs, w.Host6)
	}
	if l, err := net.Listen("tcp", "[::1]:0"); err == nil {
		l.Close()
		addrs = append(addrs, netip.IPv6Loopback())
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	addrs = slices.Compact(addrs)
	var err error
	for range 50 {
		var random [2]byte
		rand.Read(random[:])
		w.Port = 20000 + uint16(random[0])<<5 + uint16(random[1])>>3
		w.Base = w.Port
		if err = h.listenAt(addrs); err == nil {
			return nil
		}
	}
	return err
}

func (h *Host) listenAt(addrs []netip.Addr) error {
	var opened []ear
	for _, a := range addrs {
		two, err := h.listenOne(netip.AddrPortFrom(a, h.World.Port))
		if err != nil {
			for _, o := range opened {
				o.Close()
			}
			return err
		}
		opened = append(opened, two...)
	}
	h.ears = append(h.ears, opened...)
	return nil
}

// listenOne opens UDP and TCP at one address.
func (h *Host) listenOne(at netip.AddrPort) ([]ear, error) {
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
	if err != nil {
		return nil, err
	}
	l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(at))
	if err != nil {
		c.Close()
		return nil, err
	}
	h.hearing.Go(func() { h.hearDatagrams(c, "a socket at "+at.String()) })
	h.hearing.Go(func() { h.hearStreams(l, "a listener at "+at.String()) })
	return []ear{c, l}, nil
}

// listenEverywhere chooses a port for that.
func (h *Host) listenEverywhere() error {
	var err error
	for range 50 {
		var random [2]byte
		rand.Read(random[:])
		h.World.Wild = 29000 + binary.BigEndian.Uint16(random[:])%3000 // past the ports of attempts
		if err = h.ListenEverywhere(h.World.Wild); err == nil {
			return nil
		}
	}
	return err
}

// ListenEverywhere opens UDP and TCP at one more port, at every address.
func (h *Host) ListenEverywhere(port uint16) error {
	all := netip.IPv6Unspecified()
	if l, err := net.Listen("tcp", "[::1]:0"); err != nil {
		all = netip.IPv4Unspecified() // no IPv6 here
	} else {
		l.Close()
	}
	two, err := h.listenOne(netip.AddrPortFrom(all, port))
	h.ears = append(h.ears, two...)
	return err
}

func (h *Host) hearDatagrams(c *net.UDPConn, where string) {
	b := make([]byte, 2048)
	for {
		n, err := c.Read(b)
		if errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded) && !goesOn(c, err) {
			return
		}
		h.sawBytes(b[:max(0, n)], where)
	}
}

// hearStreams reads what each connection brings, for a while.
func (h *Host) hearStreams(l net.Listener, where string) {
	for {
		c, err := l.Accept()
		if err != nil {
			if goesOn(l.(ear), err) {
				continue
			}
			return
		}
		h.hearing.Go(func() {
			defer c.Close()
			c.SetReadDeadline(time.Now().Add(2 * time.Second))
			b, _ := io.ReadAll(io.LimitReader(c, 1<<12))
			h.sawBytes(b, where)
		})
	}
}

// ListenUnix opens one more listener: a resolver's, say.
func (h *Host) ListenUnix(path string) error { return h.listenUnix(path, 0o777) }

func (h *Host) listenUnix(path string, mode os.FileMode) error {
	l, err := net.Listen("unix", path)
	if err != nil {
		return err
	}
	if path[0] != '@' {
		if err := os.Chmod(path, mode); err != nil {
			l.Close()
			return err
		}
	}
	h.ears = append(h.ears, l.(ear))
	h.hearing.Go(func() { h.hearStreams(l, path) })
	return nil
}
