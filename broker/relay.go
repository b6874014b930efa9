package broker

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// relay carries bytes between the program's connection and the tunnel's until
// both ways have ended, and how each way ends: a FIN as a FIN, a RST as a RST.
func (b *Broker) relay(near, far net.Conn) {
	defer near.Close()
	defer far.Close()
	// The broker's end is theirs.
	stop := context.AfterFunc(b.ctx, func() { reset(near); reset(far) })
	defer stop()
	var both sync.WaitGroup
	var orphan *time.Timer
	both.Go(func() {
		carry(far, near)
		// The program may have closed its socket altogether, and the far end go on for
		// ever. A kernel would give up as well (net.ipv4.tcp_fin_timeout).
		orphan = time.AfterFunc(orphanLife, func() {
			if isOver(near) {
				reset(far)
			}
		})
	})
	carry(near, far)
	if f, can := far.(interface{ WaitEnd() error }); can {
		// The far end has said all. If it takes nothing any more either, the program is to
		// hear so before it has written once more in vain.
		go func() {
			if err := f.WaitEnd(); err != nil && !errors.Is(err, net.ErrClosed) {
				reset(near)
				reset(far)
			}
		}()
	}
	both.Wait()
	orphan.Stop()
}

// orphanLife is how long the far end of a connection may go on when the program has
// ended its own: longer than the kernel keeps such a socket, 60 seconds.
const orphanLife = 90 * time.Second

// isOver reports whether the kernel has given up a connection.
func isOver(c net.Conn) bool {
	s, is := c.(nearConn)
	if !is {
		return false
	}
	over := true // also one that is closed
	s.raw.Control(func(fd uintptr) {
		state, err := tcpState(int(fd))
		over = err != nil || state == tcpClose
	})
	return over
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
