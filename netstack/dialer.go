package netstack

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"syscall"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
)

// A Dialer makes connections and sockets of one network. It is one of adit's
// four seams: a [Stack] dials through the tunnel, others go directly. The
// methods behave as those of package net with the same names, errors included.
// Safe for concurrent use.
type Dialer interface {
	// DialContext connects to address, "host:port". The networks are tcp,
	// tcp4, tcp6, udp, udp4 and udp6.
	DialContext(ctx context.Context, network, address string) (net.Conn, error)

	// ListenPacket makes a UDP socket with the local address, "ip:port",
	// where both may be left out: ":0".
	ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error)

	// Listen accepts TCP connections to the local address.
	Listen(ctx context.Context, network, address string) (net.Listener, error)

	// LookupNetIP returns the addresses of host. The networks are ip, ip4, ip6.
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

var _ Dialer = (*Stack)(nil)

// DialContext connects through the tunnel. Names are asked through the tunnel
// too. What the tunnel does not cover fails at once, with ENETUNREACH.
func (s *Stack) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	kind, family, err := parseNetwork(network)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	host, port, err := splitHostPort(ctx, network, address)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	addrs, err := s.addressesOf(ctx, family, host)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	return dialAny(ctx, addrs, func(ctx context.Context, addr netip.Addr) (net.Conn, error) {
		if kind == "udp" {
			return s.dialUDP(network, netip.AddrPortFrom(addr, port))
		}
		return s.dialTCP(ctx, network, netip.AddrPortFrom(addr, port), func() {})
	})
}

// parseNetwork splits "tcp4" into "tcp" and "ip4".
func parseNetwork(network string) (kind, family string, err error) {
	switch network {
	case "tcp", "udp":
		return network, "ip", nil
	case "tcp4", "udp4", "tcp6", "udp6":
		return network[:3], "ip" + network[3:], nil
	}
	return "", "", net.UnknownNetworkError(network)
}

func splitHostPort(ctx context.Context, network, address string) (string, uint16, error) {
	host, service, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, err
	}
	if n, err := strconv.ParseUint(service, 10, 16); err == nil {
		return host, uint16(n), nil
	}
	n, err := net.DefaultResolver.LookupPort(ctx, network, service) // reads a file, asks nobody
	if err != nil {
		return "", 0, err
	}
	return host, uint16(n), nil
}

// addressesOf returns the addresses of host in the order in which to try them.
func (s *Stack) addressesOf(ctx context.Context, family, host string) ([]netip.Addr, error) {
	if addr, err := netip.ParseAddr(host); err == nil {
		addr = addr.Unmap().WithZone("")
		if family == "ip4" && !addr.Is4() || family == "ip6" && !addr.Is6() {
			return nil, &net.AddrError{Err: "no suitable address found", Addr: host}
		}
		return []netip.Addr{addr}, nil
	}
	if family == "ip" && !s.router.hosts.has6() {
		family = "ip4" // an answer that could not be used need not be asked for
	} else if family == "ip" && !s.router.hosts.has4() {
		family = "ip6"
	}
	addrs, err := s.LookupNetIP(ctx, family, host)
	if err != nil {
		return nil, err
	}
	return s.inOrder(addrs), nil
}

// inOrder returns addrs with the families taking turns (RFC 8305 §4). IPv6
// begins if we have a global address of it; from a unique local one RFC 6724
// (rule 5, labels) prefers IPv4 to reach a global address.
func (s *Stack) inOrder(addrs []netip.Addr) []netip.Addr {
	var v4, v6 []netip.Addr
	for _, a := range addrs {
		if a.Is4() {
			v4 = append(v4, a)
		} else {
			v6 = append(v6, a)
		}
	}
	first, second := v4, v6
	if slices.ContainsFunc(s.addresses, func(p netip.Prefix) bool { return p.Addr().Is6() && !p.Addr().IsPrivate() }) {
		first, second = v6, v4
	}
	var out []netip.Addr
	for i := range max(len(first), len(second)) {
		if i < len(first) {
			out = append(out, first[i])
		}
		if i < len(second) {
			out = append(out, second[i])
		}
	}
	return out
}

// attemptDelay is how long one address may be silent before the next one is
// tried beside it: RFC 8305 §5.
const attemptDelay = 250 * time.Millisecond

// dialAny returns the first connection that succeeds, or the first error.
func dialAny(ctx context.Context, addrs []netip.Addr, dial func(context.Context, netip.Addr) (net.Conn, error)) (net.Conn, error) {
	if len(addrs) == 1 {
		return dial(ctx, addrs[0])
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		conn net.Conn
		err  error
	}
	// One place for each attempt: none of them blocks when nobody listens.
	results := make(chan result, len(addrs))
	started, running := 0, 0
	start := func() {
		addr := addrs[started]
		started++
		running++
		go func() {
			conn, err := dial(ctx, addr)
			results <- result{conn, err}
		}()
	}
	next := time.NewTimer(attemptDelay)
	defer next.Stop()
	var firstErr error
	start()
	for running > 0 {
		select {
		case r := <-results:
			running--
			if r.err == nil {
				go func() { // those that won too late
					for range running {
						if r := <-results; r.conn != nil {
							r.conn.Close()
						}
					}
				}()
				return r.conn, nil
			}
			if firstErr == nil {
				firstErr = r.err
			}
		case <-next.C:
		}
		if started < len(addrs) && ctx.Err() == nil {
			start()
			next.Reset(attemptDelay)
		}
	}
	return nil, firstErr
}

// reachable returns nil if there is a way to addr, else what the kernel of a
// host with the tunnel's routes would say.
func (s *Stack) reachable(addr netip.Addr) error {
	hosts := &s.router.hosts
	switch {
	case hosts.contains(addr):
		return nil
	case addr.IsUnspecified(), addr.IsLoopback(), !s.router.routes.contains(addr),
		addr.Is4() && !hosts.has4(), addr.Is6() && !hosts.has6():
		return syscall.ENETUNREACH
	}
	return nil
}

// Source returns the address from which far is spoken to, or why it is not reached: what
// a UDP socket that is connected to it says. Nothing is sent.
func (s *Stack) Source(far netip.Addr) (netip.Addr, error) {
	if s.reachable(far) != nil {
		return netip.Addr{}, sysError("connect", &tcpip.ErrNetworkUnreachable{})
	}
	r, err := s.net.FindRoute(0, tcpip.Address{}, toAddress(far), networkProtocol(far), false)
	if err != nil {
		return netip.Addr{}, sysError("connect", err)
	}
	defer r.Release()
	return fromAddress(r.LocalAddress()), nil
}

// DialTCP is DialContext of a TCP connection, which calls started once the SYN has been
// handed to the network, before it waits: what does not matter to the SYN can be done
// meanwhile. It is not called if it does not come to that.
func (s *Stack) DialTCP(ctx context.Context, far netip.AddrPort, started func()) (net.Conn, error) {
	return s.dialTCP(ctx, "tcp", far, started)
}

// dialTCP connects to far. See [Stack.DialTCP].
func (s *Stack) dialTCP(ctx context.Context, network string, far netip.AddrPort, started func()) (net.Conn, error) {
	addr := net.TCPAddrFromAddrPort(far)
	fail := func(err error) (net.Conn, error) { return nil, opError("dial", network, nil, addr, err) }
	if ctx.Err() != nil {
		return fail(contextError(ctx))
	}
	if s.reachable(far.Addr()) != nil {
		return fail(sysError("connect", &tcpip.ErrNetworkUnreachable{}))
	}
	e, err := s.socket(network, protocolTCP, networkProtocol(far.Addr()))
	if err != nil {
		return fail(err)
	}
	c := Conn{e}
	switch err := e.ep.Connect(toFull(far)); err.(type) {
	case nil, *tcpip.ErrConnectStarted:
	default:
		e.close()
		return fail(sysError("connect", err))
	}
	started()
	for {
		if done, err := c.connected(); err != nil {
			e.close()
			return fail(sysError("connect", err))
		} else if done {
			return c, nil
		}
		select {
		case <-e.writable:
		case <-ctx.Done():
			e.close()
			return fail(contextError(ctx))
		}
	}
}

// dialUDP makes a socket with the one far end.
func (s *Stack) dialUDP(network string, far netip.AddrPort) (net.Conn, error) {
	addr := net.UDPAddrFromAddrPort(far)
	fail := func(err error) (net.Conn, error) { return nil, opError("dial", network, nil, addr, err) }
	if s.reachable(far.Addr()) != nil {
		return fail(sysError("connect", &tcpip.ErrNetworkUnreachable{}))
	}
	e, err := s.socket(network, protocolUDP, networkProtocol(far.Addr()))
	if err != nil {
		return fail(err)
	}
	if err := e.ep.Connect(toFull(far)); err != nil {
		e.close()
		return fail(sysError("connect", err))
	}
	return PacketConn{endpoint: e, stack: s}, nil
}

// ListenPacket makes a UDP socket. See [Dialer].
func (s *Stack) ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error) {
	e, v6, err := s.bind(ctx, network, address, protocolUDP)
	if err != nil {
		return nil, &net.OpError{Op: "listen", Net: network, Err: err}
	}
	return PacketConn{endpoint: e, mapped: v6 && network == "udp", stack: s}, nil
}

// listenBacklog is the kernel's default of net.core.somaxconn since Linux 5.4.
const listenBacklog = 4096

// Listen accepts TCP connections that come to this Stack: out of the tunnel
// only to ports that Config.Expose names. See [Dialer].
func (s *Stack) Listen(ctx context.Context, network, address string) (net.Listener, error) {
	e, _, err := s.bind(ctx, network, address, protocolTCP)
	if err != nil {
		return nil, &net.OpError{Op: "listen", Net: network, Err: err}
	}
	if err := e.ep.Listen(listenBacklog); err != nil {
		e.close()
		return nil, &net.OpError{Op: "listen", Net: network, Err: sysError("listen", err)}
	}
	return listener{e}, nil
}

// bind makes a socket with a local address, and reports whether it is IPv6's.
func (s *Stack) bind(ctx context.Context, network, address string, transport tcpip.TransportProtocolNumber) (e *endpoint, v6 bool, err error) {
	kind, family, err := parseNetwork(network)
	if err == nil && (kind == "udp") != (transport == protocolUDP) {
		err = net.UnknownNetworkError(network)
	}
	if err != nil {
		return nil, false, err
	}
	host, port, err := splitHostPort(ctx, network, address)
	if err != nil {
		return nil, false, err
	}
	local := netip.AddrPortFrom(netip.Addr{}, port)
	if host != "" {
		addr, err := netip.ParseAddr(host)
		if err != nil {
			return nil, false, &net.AddrError{Err: "not an IP address", Addr: host}
		}
		if addr = addr.Unmap().WithZone(""); !addr.IsUnspecified() {
			local = netip.AddrPortFrom(addr, port)
		} else if family == "ip" && addr.Is4() {
			family = "ip4"
		}
	}
	protocol, v6, err := s.familyOf(family, local.Addr())
	if err != nil {
		return nil, false, err
	}
	if e, err = s.socket(network, transport, protocol); err != nil {
		return nil, false, err
	}
	if v6 && family == "ip6" {
		e.ep.SocketOptions().SetV6Only(true)
	}
	if err := e.ep.Bind(toFull(local)); err != nil {
		e.close()
		return nil, false, sysError("bind", err)
	}
	if port != 0 {
		s.endpoints.bound.add(port)
	}
	return e, v6, nil
}

// familyOf returns the protocol of a socket with the local address, which may
// be the zero Addr.
func (s *Stack) familyOf(family string, local netip.Addr) (protocol tcpip.NetworkProtocolNumber, v6 bool, err error) {
	has4, has6 := s.router.hosts.has4(), s.router.hosts.has6()
	switch {
	case local.Is4() && family == "ip6", local.Is6() && family == "ip4":
		return 0, false, &net.AddrError{Err: "no suitable address found", Addr: local.String()}
	case local.Is4() || family == "ip4" || !has6 && family == "ip":
		if !has4 {
			return 0, false, sysError("bind", &tcpip.ErrBadLocalAddress{})
		}
		return networkProtocol(netip.IPv4Unspecified()), false, nil
	case !has6:
		return 0, false, sysError("socket", &tcpip.ErrAddressFamilyNotSupported{})
	}
	return networkProtocol(netip.IPv6Unspecified()), true, nil
}
