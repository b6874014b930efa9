package gateway

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"adit/netstack"
)

// dialTimeout is how long a connection behind the gateway may take: about as
// long as a kernel tries (tcp_syn_retries 6: 127 s), and the peer's with it.
const dialTimeout = 2 * time.Minute

// serveTCP connects a peer, and answers it by what became of the connection.
func (x *exit) serveTCP(r *netstack.TCPRequest) {
	if !x.open.begin() {
		r.Refuse(net.ErrClosed)
		return
	}
	defer x.open.end()
	dst := r.Destination()
	if err := x.permit(dst.Addr()); err != nil {
		x.log.Info("connection refused: the address is not reached through this gateway", "from", r.Source(), "to", dst)
		r.Refuse(err)
		return
	}
	ctx, cancel := context.WithTimeout(x.ctx, dialTimeout)
	defer cancel()
	far, err := x.dial(ctx, "tcp", dst.String())
	if err != nil {
		x.log.Debug("connection failed", "from", r.Source(), "to", dst, "err", err)
		r.Refuse(err)
		return
	}
	if !x.open.add(far) {
		r.Refuse(net.ErrClosed)
		return
	}
	defer x.open.remove(far)
	near, err := r.Accept()
	if err != nil {
		x.log.Debug("peer gave its connection up", "from", r.Source(), "to", dst, "err", err)
		reset(far) // as the peer did
		return
	}
	defer near.Close()
	near.SetKeepAliveConfig(keepAlive())
	join(near, far)
}

// join carries bytes both ways until both have ended. The end of one way is
// passed on as such; a reset, or whatever else breaks one, breaks both.
func join(near, far net.Conn) {
	var wg sync.WaitGroup
	pass := func(dst, src net.Conn) {
		// One of the two is netstack.Conn, which takes a buffer while it has
		// something to put there.
		if _, err := io.Copy(dst, src); err != nil {
			reset(dst)
			reset(src)
			return
		}
		if half, ok := dst.(interface{ CloseWrite() error }); ok {
			if err := half.CloseWrite(); err == nil || errors.Is(err, syscall.ENOTCONN) {
				return
			}
		}
		dst.Close() // it has no halves
	}
	wg.Go(func() { pass(near, far) })
	pass(far, near)
	wg.Wait()
}

// reset ends c with a RST where c can do that.
func reset(c net.Conn) {
	if l, ok := c.(interface{ SetLinger(int) error }); ok {
		l.SetLinger(0)
	}
	c.Close()
}
