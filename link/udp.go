package link

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"

	"adit/packet"
	"golang.org/x/sys/unix"
)

// UDPOptions says how ListenUDP makes its socket. The zero value is a socket
// for IPv4 and IPv6 on a free port.
type UDPOptions struct {
	Port         uint16       // 0: any
	FallbackPort bool         // if Port is taken, use any other instead of failing
	Addr         netip.Addr   // address to bind to; zero: all, of both families
	Mark         uint32       // SO_MARK of what is sent, for the host's routing; 0: none. Needs CAP_NET_ADMIN
	Logger       *slog.Logger // nil: discard

	DisableOffload bool // the kernel neither segments nor merges datagrams
}

// udpBuffer is what the socket asks for as send and receive buffer, in bytes.
// The kernel cuts it down to net.core.{w,r}mem_max for the unprivileged.
const udpBuffer = 4 << 20

// UDP is a wg.Transport over one UDP socket, for both families where the host has
// both. Many datagrams go in one system call: runs of one size and way as one
// message with UDP_SEGMENT, others side by side by sendmmsg(2); many come back
// in one by UDP_GRO and recvmmsg(2). What the kernel or the network card
// refuses is noticed and done without.
type UDP struct {
	file *file
	sys  *kernel
	log  *slog.Logger
	v6   bool // an AF_INET6 socket
	port uint16

	in receiver // of Read, so of one goroutine

	// Of Write, which runs in several goroutines at once:
	noGSO   atomic.Bool                 // not supported, broken, or not wanted
	holdGSO atomic.Int32                // writes to send plain before trying again
	held    atomic.Bool                 // that has happened, and was logged
	stale   atomic.Pointer[packet.Path] // its Local was refused: let the kernel choose
	senders sync.Pool                   // of *sender
	lost    atomic.Uint64               // datagrams in and out given up here
}

// ListenUDP opens the socket. It is IPv6 with IPv4 mapped into it, or IPv4 where
// there is no IPv6 or o.Addr is an IPv4 address.
func ListenUDP(o UDPOptions) (*UDP, error) {
	u, err := listenUDP(o, linux())
	if err != nil {
		return nil, fmt.Errorf("listen on UDP port %d: %w", o.Port, err)
	}
	return u, nil
}

func listenUDP(o UDPOptions, sys *kernel) (*UDP, error) {
	u := &UDP{sys: sys, log: o.Logger, v6: !o.Addr.Unmap().Is4()}
	if u.log == nil {
		u.log = slog.New(slog.DiscardHandler)
	}
	fd, err := u.socket()
	if err != nil {
		return nil, err
	}
	if err := u.prepare(fd, o); err != nil {
		unix.Close(fd)
		return nil, err
	}
	gro := u.options(fd, o)
	if u.file, err = newFile(fd, "udp"); err != nil {
		return nil, err
	}
	u.in.init(u, gro)
	u.senders.New = func() any { return newSender(u) }
	return u, nil
}

// socket opens the socket, of IPv4 if there is no IPv6.
func (u *UDP) socket() (int, error) {
	const typ = unix.SOCK_DGRAM | unix.SOCK_CLOEXEC | unix.SOCK_NONBLOCK
	if u.v6 {
		fd, err := u.sys.socket(unix.AF_INET6, typ, 0)
		if err == nil {
			err = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 0)
			if err == nil {
				return fd, nil
			}
			unix.Close(fd)
		}
		u.v6 = false // EAFNOSUPPORT: ipv6.disable=1
	}
	fd, err := u.sys.socket(unix.AF_INET, typ, 0)
	return fd, os.NewSyscallError("socket", err)
}

// prepare marks and binds the socket as o says.
func (u *UDP) prepare(fd int, o UDPOptions) error {
	if o.Mark != 0 {
		if err := mark(fd, o.Mark); err != nil {
			return err
		}
	}
	return u.bind(fd, o)
}

// mark sets the mark of what fd sends. It is unsigned, SetsockoptInt is not.
func mark(fd int, v uint32) error {
	return os.NewSyscallError("SO_MARK", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, int(v)))
}

// bind binds the socket as o says and learns its port.
func (u *UDP) bind(fd int, o UDPOptions) error {
	if o.Addr.Is6() && !o.Addr.Is4In6() && !u.v6 {
		return fmt.Errorf("bind %s: %w", o.Addr, unix.EAFNOSUPPORT)
	}
	err := unix.Bind(fd, u.bindAddr(o.Addr, o.Port))
	if errors.Is(err, unix.EADDRINUSE) && o.FallbackPort && o.Port != 0 {
		u.log.Info("listen port is taken, using another", "port", o.Port)
		err = unix.Bind(fd, u.bindAddr(o.Addr, 0))
	}
	if err != nil {
		return os.NewSyscallError("bind", err)
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return os.NewSyscallError("getsockname", err)
	}
	switch sa := sa.(type) {
	case *unix.SockaddrInet6:
		u.port = uint16(sa.Port)
	case *unix.SockaddrInet4:
		u.port = uint16(sa.Port)
	}
	return nil
}

func (u *UDP) bindAddr(a netip.Addr, port uint16) unix.Sockaddr {
	if u.v6 {
		sa := &unix.SockaddrInet6{Port: int(port)}
		if a.IsValid() {
			sa.Addr, sa.ZoneId = a.As16(), scope(a.Zone())
		}
		return sa
	}
	sa := &unix.SockaddrInet4{Port: int(port)}
	if a.IsValid() {
		sa.Addr = a.Unmap().As4()
	}
	return sa
}

// options sets what is good to have. Nothing of it is needed to work, so errors
// only tell what the kernel lacks. It reports whether UDP_GRO is on.
func (u *UDP) options(fd int, o UDPOptions) (gro bool) {
	for _, opt := range [][2]int{{unix.SO_RCVBUF, unix.SO_RCVBUFFORCE}, {unix.SO_SNDBUF, unix.SO_SNDBUFFORCE}} {
		if unix.SetsockoptInt(fd, unix.SOL_SOCKET, opt[1], udpBuffer) != nil {
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, opt[0], udpBuffer)
		}
	}
	if u.v6 {
		unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
		unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVTCLASS, 1)
	} else {
		unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
	}
	// Both are about IPv4, also on a socket of IPv6. Without DF a path with a
	// smaller MTU than we know fragments instead of swallowing, as with the
	// kernel's WireGuard.
	unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_RECVTOS, 1)
	unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DONT)

	if o.DisableOffload {
		u.log.Info("UDP segmentation offload is switched off")
		u.noGSO.Store(true)
		return false
	}
	_, err := u.sys.getsockopt(fd, unix.SOL_UDP, unix.UDP_SEGMENT) // Linux 4.18
	switch {
	case err != nil:
		u.log.Info("this kernel has no UDP segmentation offload, doing without", "err", err)
	case brokenGSO(u.sys.release()):
		u.log.Info("this kernel corrupts UDP segmentation offload, doing without")
		err = unix.EOPNOTSUPP
	}
	u.noGSO.Store(err != nil)
	return u.sys.setsockopt(fd, unix.SOL_UDP, unix.UDP_GRO, 1) == nil // Linux 5.0
}

// SetMark changes the mark of what is sent from now on; 0 removes it. Safe for
// concurrent use.
func (u *UDP) SetMark(v uint32) error {
	var failed error
	if err := u.file.control(func(fd uintptr) { failed = mark(int(fd), v) }); err != nil {
		return err
	}
	return failed
}

// LocalPort returns the port that the socket is bound to.
func (u *UDP) LocalPort() uint16 { return u.port }

// Lost returns how many datagrams, in or out, were given up here: refused by the
// kernel for good, or cut off. Safe for concurrent use.
func (u *UDP) Lost() uint64 { return u.lost.Load() }

// Overhead returns 0: the datagrams travel as they are.
func (u *UDP) Overhead() int { return 0 }

// Close closes the socket. See wg.Transport.
func (u *UDP) Close() error { return u.file.close() }
