package netstack

import (
	"net"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

// A Conn is a TCP connection through the tunnel. It can do what callers of
// *net.TCPConn expect; errors wrap the errno that a kernel would give.
type Conn struct{ *endpoint }

var _ net.Conn = Conn{}

// Read reads what has come, and waits if that is nothing. io.EOF: the far end
// will send no more.
func (c Conn) Read(b []byte) (int, error) {
	c.readMu.Lock()
	defer c.readMu.Unlock()
	by := c.readBy.passed()
	if err := c.check(by); err != nil {
		return 0, c.error("read", err)
	}
	if len(b) == 0 {
		return 0, nil
	}
	for {
		res, err := c.readInto(b, tcpip.ReadOptions{})
		switch err.(type) {
		case nil:
			c.ep.ModerateRecvBuf(res.Count)
			return res.Count, nil
		case *tcpip.ErrWouldBlock:
			if err := c.wait(c.readable, by); err != nil {
				return 0, c.error("read", err)
			}
		default:
			if isClosed(c.closed) {
				return 0, c.error("read", net.ErrClosed)
			}
			return 0, c.error("read", readError(err))
		}
	}
}

// Write sends all of b, and waits while the buffer is full.
func (c Conn) Write(b []byte) (int, error) {
	c.writeMu.Lock()
	defer c.writeMu.Unlock()
	by := c.writeBy.passed()
	if err := c.check(by); err != nil {
		return 0, c.error("write", err)
	}
	for sent := 0; sent < len(b); {
		n, err := c.writeFrom(b[sent:], tcpip.WriteOptions{})
		sent += int(n)
		switch err.(type) {
		case nil:
		case *tcpip.ErrWouldBlock:
			if err := c.wait(c.writable, by); err != nil {
				return sent, c.error("write", err)
			}
		default:
			if isClosed(c.closed) {
				return sent, c.error("write", net.ErrClosed)
			}
			return sent, c.error("write", sysError("write", err))
		}
	}
	return len(b), nil
}

// CloseWrite tells the far end that nothing more will come.
func (c Conn) CloseWrite() error {
	c.finished.Store(true)
	return c.shutdown(tcpip.ShutdownWrite)
}

// WaitEnd waits, after Read has returned io.EOF, until the connection is none any
// more: nil if both ends have closed it, else why it is not, as Write would say, or
// net.ErrClosed once it has been closed here.
func (c Conn) WaitEnd() error {
	c.readMu.Lock()
	defer c.readMu.Unlock()
	for {
		state := tcp.EndpointState(c.ep.State())
		if isClosed(c.closed) { // asked second: Close ends the connection, too
			return c.error("read", net.ErrClosed)
		}
		switch state {
		case tcp.StateError:
			var err tcpip.Error = &tcpip.ErrConnectionReset{}
			if last := c.ep.LastError(); last != nil {
				err = last
			}
			return c.error("read", sysError("read", err))
		case tcp.StateTimeWait:
			return nil
		case tcp.StateClose:
			if !c.finished.Load() {
				// A RST, of which gVisor, as Linux, keeps EPIPE in CLOSE-WAIT.
				return c.error("read", sysError("read", &tcpip.ErrClosedForSend{}))
			}
			return nil
		}
		if err := c.wait(c.readable, nil); err != nil {
			return c.error("read", err)
		}
	}
}

// CloseRead says that nothing more will be read: Read returns io.EOF.
func (c Conn) CloseRead() error { return c.shutdown(tcpip.ShutdownRead) }

func (c Conn) shutdown(how tcpip.ShutdownFlags) error {
	if isClosed(c.closed) {
		return c.error("close", net.ErrClosed)
	}
	if err := c.ep.Shutdown(how); err != nil {
		return c.error("close", sysError("shutdown", err))
	}
	return nil
}

// Close closes the connection. What was written is still delivered.
func (c Conn) Close() error {
	if !c.close() {
		return c.error("close", net.ErrClosed)
	}
	return nil
}

// Reset ends the connection with a RST, whatever is on the way: the far end
// learns that it was broken, not finished.
func (c Conn) Reset() error {
	c.SetLinger(0)
	return c.Close()
}

// SetLinger says what Close does with data that is not acknowledged: negative,
// deliver it; zero, discard it and send a RST; else wait so many seconds.
func (c Conn) SetLinger(seconds int) error {
	c.ep.SocketOptions().SetLinger(tcpip.LingerOption{Enabled: seconds >= 0, Timeout: time.Duration(max(seconds, 0)) * time.Second})
	return nil
}

// SetNoDelay says whether small writes leave at once: true unless said otherwise.
func (c Conn) SetNoDelay(noDelay bool) error {
	c.ep.SocketOptions().SetDelayOption(!noDelay)
	return nil
}

// SetKeepAliveConfig sets when a silent far end is asked whether it is there.
// Off unless said otherwise: an idle tunnel stays silent. Zero values are
// Go's defaults, negative ones leave a setting unchanged.
func (c Conn) SetKeepAliveConfig(k net.KeepAliveConfig) error {
	idle, interval, count := k.Idle, k.Interval, k.Count
	if idle == 0 {
		idle = 15 * time.Second
	}
	if interval == 0 {
		interval = 15 * time.Second
	}
	if count == 0 {
		count = 9
	}
	if idle > 0 {
		o := tcpip.KeepaliveIdleOption(idle)
		if err := c.ep.SetSockOpt(&o); err != nil {
			return c.error("set", sysError("setsockopt", err))
		}
	}
	if interval > 0 {
		o := tcpip.KeepaliveIntervalOption(interval)
		if err := c.ep.SetSockOpt(&o); err != nil {
			return c.error("set", sysError("setsockopt", err))
		}
	}
	if count > 0 {
		if err := c.ep.SetSockOptInt(tcpip.KeepaliveCountOption, count); err != nil {
			return c.error("set", sysError("setsockopt", err))
		}
	}
	c.ep.SocketOptions().SetKeepAlive(k.Enable)
	return nil
}

func (c Conn) error(op string, err error) error {
	return opError(op, c.network, c.LocalAddr(), c.RemoteAddr(), err)
}

// connected reports whether a connect has come to its end, and how.
func (c Conn) connected() (done bool, err tcpip.Error) {
	switch state := tcp.EndpointState(c.ep.State()); state {
	case tcp.StateInitial, tcp.StateBound, tcp.StateConnecting, tcp.StateSynSent, tcp.StateSynRecv:
		return false, nil
	case tcp.StateError, tcp.StateClose:
		if err := c.ep.LastError(); err != nil {
			return true, err
		}
		return true, &tcpip.ErrConnectionAborted{}
	}
	return true, nil
}

// A listener accepts TCP connections that come out of the tunnel.
type listener struct{ *endpoint }

var _ net.Listener = listener{}

// Accept waits for the next connection.
func (l listener) Accept() (net.Conn, error) {
	l.readMu.Lock()
	defer l.readMu.Unlock()
	by := l.readBy.passed()
	for {
		if err := l.check(by); err != nil {
			return nil, opError("accept", l.network, nil, l.Addr(), err)
		}
		ep, wq, err := l.ep.Accept(nil)
		switch err.(type) {
		case nil:
			return Conn{newEndpoint(l.network, ep, wq)}, nil
		case *tcpip.ErrWouldBlock:
			if err := l.wait(l.readable, by); err != nil {
				return nil, opError("accept", l.network, nil, l.Addr(), err)
			}
		default:
			if isClosed(l.closed) {
				return nil, opError("accept", l.network, nil, l.Addr(), net.ErrClosed)
			}
			return nil, opError("accept", l.network, nil, l.Addr(), sysError("accept", err))
		}
	}
}

func (l listener) Addr() net.Addr { return l.LocalAddr() }

func (l listener) Close() error {
	if !l.close() {
		return opError("close", l.network, nil, l.Addr(), net.ErrClosed)
	}
	return nil
}

// SetDeadline limits how long Accept waits. The zero Time means for ever.
func (l listener) SetDeadline(t time.Time) error { return l.SetReadDeadline(t) }
