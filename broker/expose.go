package broker

import (
	"context"
	"net"
	"net/netip"
	"strconv"

	"golang.org/x/sys/unix"
)

// A visitor is a connection from the tunnel to a listener of the program's.
type visitor struct{ local, remote netip.AddrPort }

// expose accepts connections from the tunnel for a listener, if its port is exposed
// and its address one that the tunnel knows. Nothing tells when the program closes
// it: whoever comes then, until somebody listens there again, is reset.
func (b *Broker) expose(key bindKey, e bound) {
	if !b.isExposed(key.port, key.addr) {
		return
	}
	four, six := key.covers(e)
	if four.IsValid() {
		b.exposePort(bindKey{port: key.port}, "tcp4")
	}
	if six.IsValid() {
		b.exposePort(bindKey{v6: true, port: key.port}, "tcp6")
	}
}

func (b *Broker) isExposed(port uint16, addr netip.Addr) bool {
	return b.cfg.Exposed != nil && b.cfg.Exposed(port) && !addr.IsLoopback()
}

// exposePort accepts at a port of one family, from its first listener on.
func (b *Broker) exposePort(key bindKey, network string) {
	s := &b.streams
	s.mu.Lock()
	open := s.exposed[key]
	s.exposed[key] = true
	s.mu.Unlock()
	if open {
		return
	}
	l, err := b.cfg.Dialer.Listen(b.ctx, network, ":"+strconv.Itoa(int(key.port)))
	if err != nil {
		// As a tunnel without an address of that family says.
		b.log.Info("a port is not exposed", "network", network, "port", key.port, "err", err)
		s.mu.Lock()
		delete(s.exposed, key)
		s.mu.Unlock()
		return
	}
	s.running.Go(func() { b.receive(l) })
}

// receive carries what comes from the tunnel to the program's listeners.
func (b *Broker) receive(l net.Listener) {
	stop := context.AfterFunc(b.ctx, func() { l.Close() })
	defer stop()
	defer l.Close()
	for {
		far, err := l.Accept()
		if err != nil {
			return
		}
		v := visitor{addrPortOf(far.LocalAddr()), addrPortOf(far.RemoteAddr())}
		to, found := b.listener(v.local, netip.AddrPort{})
		if !found {
			reset(far)
			continue
		}
		b.streams.running.Go(func() { b.welcome(far, to, v) })
	}
}

// welcome carries one visitor to the program's listener.
func (b *Broker) welcome(far net.Conn, to netip.AddrPort, v visitor) {
	near, from, err := b.visit(to, v)
	if err != nil {
		reset(far)
		return
	}
	b.relay(near, far)
	b.streams.mu.Lock()
	defer b.streams.mu.Unlock()
	delete(b.streams.visitors, from)
}

// visit connects to the program's listener, which knows the other end by its
// address in the tunnel.
func (b *Broker) visit(to netip.AddrPort, v visitor) (near net.Conn, from netip.AddrPort, err error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, from, err
	}
	noDelay(fd)
	if err = unix.Bind(fd, toUnix(unix.AF_INET, netip.AddrPortFrom(b.lo.at(5), 0))); err == nil {
		if from, err = nativeLocal(fd); err == nil {
			b.streams.mu.Lock()
			b.streams.visitors[from] = v
			b.streams.mu.Unlock()
			err = unix.Connect(fd, toUnix(unix.AF_INET, to))
		}
	}
	if err == unix.EINPROGRESS {
		err = waitConnected(fd)
	}
	if err != nil {
		unix.Close(fd)
		b.streams.mu.Lock()
		delete(b.streams.visitors, from)
		b.streams.mu.Unlock()
		return nil, from, err
	}
	near, err = streamConn(fd)
	return near, from, err
}

// visitorFrom returns who comes from a native address, if that is a visitor.
func (s *streams) visitorFrom(native netip.AddrPort) (visitor, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, is := s.visitors[native]
	return v, is
}
