package netstack

import (
	"net"
	"net/netip"
	"syscall"

	"gvisor.dev/gvisor/pkg/tcpip"
	gheader "gvisor.dev/gvisor/pkg/tcpip/header"
)

// A PacketConn sends and receives UDP datagrams through the tunnel. It can do
// what callers of *net.UDPConn expect. Made by DialContext it is connected: it
// has one far end, and learns that its port is closed (ECONNREFUSED).
type PacketConn struct {
	*endpoint
	mapped bool // the endpoint is IPv6's and also speaks IPv4
	stack  *Stack
}

var (
	_ net.PacketConn = PacketConn{}
	_ net.Conn       = PacketConn{}
)

// Read reads one datagram. What does not fit into b is lost.
func (c PacketConn) Read(b []byte) (int, error) {
	n, _, err := c.ReadFromUDPAddrPort(b)
	return n, err
}

// ReadFrom is Read with the datagram's source, a *net.UDPAddr.
func (c PacketConn) ReadFrom(b []byte) (int, net.Addr, error) {
	n, from, err := c.ReadFromUDPAddrPort(b)
	if err != nil {
		return n, nil, err
	}
	return n, net.UDPAddrFromAddrPort(from), nil
}

// ReadFromUDPAddrPort is Read with the datagram's source.
func (c PacketConn) ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error) {
	c.readMu.Lock()
	defer c.readMu.Unlock()
	by := c.readBy.passed()
	for {
		if err := c.check(by); err != nil {
			return 0, netip.AddrPort{}, c.error("read", nil, err)
		}
		res, err := c.readInto(b, tcpip.ReadOptions{NeedRemoteAddr: true})
		switch err.(type) {
		case nil:
			return res.Count, fromFull(res.RemoteAddr), nil
		case *tcpip.ErrBadBuffer: // len(b) is zero, and the datagram's is not
			return 0, fromFull(res.RemoteAddr), nil
		case *tcpip.ErrWouldBlock:
			if err := c.wait(c.readable, by); err != nil {
				return 0, netip.AddrPort{}, c.error("read", nil, err)
			}
		default:
			if isClosed(c.closed) {
				return 0, netip.AddrPort{}, c.error("read", nil, net.ErrClosed)
			}
			return 0, netip.AddrPort{}, c.error("read", nil, sysError("read", err))
		}
	}
}

// Write sends b as one datagram to the far end of a connected socket.
func (c PacketConn) Write(b []byte) (int, error) {
	return c.writeTo(b, nil, nil)
}

// WriteTo sends b as one datagram to addr, a *net.UDPAddr.
func (c PacketConn) WriteTo(b []byte, addr net.Addr) (int, error) {
	udp, ok := addr.(*net.UDPAddr)
	if !ok {
		return 0, c.error("write", addr, syscall.EINVAL)
	}
	return c.WriteToUDPAddrPort(b, udp.AddrPort())
}

// WriteToUDPAddrPort sends b as one datagram to the address to.
func (c PacketConn) WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error) {
	to = netip.AddrPortFrom(to.Addr().Unmap().WithZone(""), to.Port())
	far := net.UDPAddrFromAddrPort(to)
	if err := c.stack.reachable(to.Addr()); err != nil {
		return 0, c.error("write", far, err)
	}
	full := toFull(to)
	if to.Addr().Is4() && c.mapped {
		full.Addr = tcpip.AddrFrom16(netip.AddrFrom16(to.Addr().As16()).As16())
	}
	return c.writeTo(b, &full, far)
}

func (c PacketConn) writeTo(b []byte, to *tcpip.FullAddress, far net.Addr) (int, error) {
	if len(b) > gheader.UDPMaximumPacketSize {
		return 0, c.error("write", far, sysError("write", &tcpip.ErrMessageTooLong{}))
	}
	c.writeMu.Lock()
	defer c.writeMu.Unlock()
	by := c.writeBy.passed()
	for {
		if err := c.check(by); err != nil {
			return 0, c.error("write", far, err)
		}
		n, err := c.writeFrom(b, tcpip.WriteOptions{To: to, Atomic: true})
		switch err.(type) {
		case nil:
			return int(n), nil
		case *tcpip.ErrWouldBlock:
			if err := c.wait(c.writable, by); err != nil {
				return 0, c.error("write", far, err)
			}
		default:
			if isClosed(c.closed) {
				return 0, c.error("write", far, net.ErrClosed)
			}
			return 0, c.error("write", far, sysError("write", err))
		}
	}
}

// Close closes the socket.
func (c PacketConn) Close() error {
	if !c.close() {
		return c.error("close", nil, net.ErrClosed)
	}
	return nil
}

// error wraps err; far is the far end, or nil for that of a connected socket.
func (c PacketConn) error(op string, far net.Addr, err error) error {
	if far == nil {
		far = c.RemoteAddr()
	}
	return opError(op, c.network, c.LocalAddr(), far, err)
}
