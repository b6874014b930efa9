package device

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"

	"adit/link"
	"adit/packet"
	"golang.org/x/sys/unix"
)

// A transport is a wg.Transport whose UDP socket comes, goes and is replaced
// while the engine reads and writes: with another listen_port, another fwmark,
// the interface down and up. Without a socket Read waits and Write loses.
type transport struct {
	noOffload bool
	log       *slog.Logger

	mu      sync.Mutex // guards what follows
	changed *sync.Cond // udp or closed changed
	udp     atomic.Pointer[link.UDP]
	up      bool // there is to be a socket
	closed  bool
	port    uint16 // of the socket, or what it is to be; 0: any
	mark    uint32
}

func newTransport(noOffload bool, log *slog.Logger) *transport {
	t := &transport{noOffload: noOffload, log: log}
	t.changed = sync.NewCond(&t.mu)
	return t
}

// Read fills b from the socket that there is. See wg.Transport.
func (t *transport) Read(b *packet.Batch) error {
	for {
		u := t.wait()
		if u == nil {
			return net.ErrClosed
		}
		err := u.Read(b)
		if err == nil || t.udp.Load() == u && !errors.Is(err, net.ErrClosed) {
			return err
		}
	}
}

// wait waits for a socket. It returns nil when the transport is closed.
func (t *transport) wait() *link.UDP {
	t.mu.Lock()
	defer t.mu.Unlock()
	for !t.closed && t.udp.Load() == nil {
		t.changed.Wait()
	}
	if t.closed {
		return nil
	}
	return t.udp.Load()
}

// Write sends b by the socket that there is. See wg.Transport.
func (t *transport) Write(b *packet.Batch) error {
	for {
		u := t.udp.Load()
		if u == nil {
			return unix.ENETDOWN
		}
		err := u.Write(b)
		if !errors.Is(err, net.ErrClosed) || t.udp.Load() == u {
			return err
		}
	}
}

// Overhead returns 0. See wg.Transport.
func (t *transport) Overhead() int { return 0 }

// Close closes the socket for good. See wg.Transport.
func (t *transport) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	t.replace(nil)
	return nil
}

// setUp opens the socket, or closes it. If it cannot be opened, the next
// setUp or configure tries again.
func (t *transport) setUp(up bool) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.up = up
	switch {
	case !up:
		t.replace(nil)
	case t.udp.Load() == nil && !t.closed:
		return t.open(t.port, t.mark)
	}
	return nil
}

// configure changes port and mark at once; nil leaves one as it is. On an error
// both are what they were, and so is the socket. While there is no socket it
// is tried whether there could be one: the error should come to who asks for
// the port, not to who brings the interface up.
func (t *transport) configure(port *uint16, mark *uint32) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	p, m := t.port, t.mark
	if port != nil {
		p = *port
	}
	if mark != nil {
		m = *mark
	}
	u := t.udp.Load()
	switch {
	case t.closed:
		return net.ErrClosed
	case p == t.port && m == t.mark && (u != nil) == t.up && (p != 0 || port == nil):
	case t.up && (u == nil || p != t.port || p == 0):
		return t.open(p, m)
	case t.up:
		if err := u.SetMark(m); err != nil {
			return fmt.Errorf("set fwmark %d: %w", m, err)
		}
	default:
		probe, err := link.ListenUDP(link.UDPOptions{Port: p, Mark: m})
		if err != nil {
			return err
		}
		probe.Close()
	}
	t.port, t.mark = p, m
	return nil
}

// open replaces the socket by one with that port and mark. t.mu must be held.
func (t *transport) open(port uint16, mark uint32) error {
	u, err := link.ListenUDP(link.UDPOptions{Port: port, Mark: mark, DisableOffload: t.noOffload, Logger: t.log})
	if err != nil {
		return err
	}
	t.port, t.mark = u.LocalPort(), mark
	t.replace(u)
	return nil
}

// replace makes u the socket, which may be nil. t.mu must be held.
func (t *transport) replace(u *link.UDP) {
	if old := t.udp.Swap(u); old != nil {
		old.Close()
	}
	t.changed.Broadcast()
}

// settings returns the port and the mark as they are. The port is 0 only while
// there has not been a socket.
func (t *transport) settings() (port uint16, mark uint32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.port, t.mark
}
