package broker

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// streamConn makes a net.Conn of our end of a connection on lo.
func streamConn(fd int) (net.Conn, error) {
	f := os.NewFile(uintptr(fd), "relay")
	defer f.Close()
	return net.FileConn(f)
}

// relay carries bytes between the program's connection and the tunnel's until
// both ways have ended, and how each way ends: a FIN as a FIN, a RST as a RST.
func (b *Broker) relay(near, far net.Conn) {
	defer near.Close()
	defer far.Close()
	// The broker's end is theirs.
	stop := context.AfterFunc(b.ctx, func() { reset(near); reset(far) })
	defer stop()
	var both sync.WaitGroup
	both.Go(func() { carry(far, near) })
	carry(near, far)
	both.Wait()
}

// carry carries one way.
func carry(to, from net.Conn) {
	_, err := io.Copy(to, from)
	if err != nil {
		// Either end is broken, and the other one hears of it.
		reset(to)
		reset(from)
		return
	}
	if c, ok := to.(interface{ CloseWrite() error }); ok {
		if err := c.CloseWrite(); err != nil && !errors.Is(err, unix.ENOTCONN) {
			reset(from)
		}
		return
	}
	to.Close()
}

// reset ends a connection with a RST where it is one of TCP.
func reset(c net.Conn) {
	if l, ok := c.(interface{ SetLinger(seconds int) error }); ok {
		l.SetLinger(0)
	}
	c.Close()
}
