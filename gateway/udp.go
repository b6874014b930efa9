package gateway

import (
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"adit/netstack"
)

const (
	// maxFlows is how many UDP flows and pings there are at once, all peers
	// together: each is a socket of the host. What comes on top is lost.
	maxFlows = 4096

	// A flow that is silent for so long has ended: RFC 4787 §4.3 asks for two
	// minutes at least; to port 53 a question and its answer are all there is.
	flowIdle = 3 * time.Minute
	dnsIdle  = 30 * time.Second

	maxDatagram = 65535 // bytes
)

var datagrams = sync.Pool{New: func() any { return new([maxDatagram]byte) }}

// serveUDP carries the datagrams of one flow until it is silent.
func (x *exit) serveUDP(f *netstack.UDPFlow) {
	defer f.Close()
	if !x.open.begin() {
		return
	}
	defer x.open.end()
	select {
	case x.flows <- struct{}{}:
		defer func() { <-x.flows }()
	default:
		x.log.Debug("datagram lost: too many flows", "from", f.Source(), "to", f.Destination())
		return
	}
	dst := f.Destination()
	if err := x.permit(dst.Addr()); err != nil {
		f.Refuse(err)
		return
	}
	far, err := x.dial(x.ctx, "udp", dst.String())
	if err != nil {
		x.log.Debug("flow failed", "from", f.Source(), "to", dst, "err", err)
		f.Refuse(err)
		return
	}
	if !x.open.add(far) {
		return
	}
	defer x.open.remove(far)
	idle := flowIdle
	if dst.Port() == 53 {
		idle = dnsIdle
	}
	joinFlow(f, far, idle, f.Refuse)
}

// joinFlow carries datagrams both ways until neither way has had one for idle.
// What becomes known about a datagram on the far side (its port is closed, its
// host cannot be reached) is given to refuse, and does not end the flow.
func joinFlow(near, far net.Conn, idle time.Duration, refuse func(error)) {
	f := flow{idle: idle, start: time.Now()}
	var wg sync.WaitGroup
	pass := func(dst, src net.Conn, unread, unwritten func(error)) {
		defer near.Close()
		defer far.Close()
		buf := datagrams.Get().(*[maxDatagram]byte)
		defer datagrams.Put(buf)
		for {
			n, err := f.read(src, buf[:])
			if err == nil {
				if _, err = dst.Write(buf[:n]); err != nil && !lost(err, unwritten) {
					return
				}
			} else if !lost(err, unread) {
				return
			}
		}
	}
	ignore := func(error) {}
	wg.Go(func() { pass(near, far, refuse, ignore) })
	pass(far, near, ignore, refuse)
	wg.Wait()
}

// A flow knows when its last datagram came.
type flow struct {
	idle  time.Duration
	start time.Time
	last  atomic.Int64 // ns since start
}

// read reads a datagram from src. It returns os.ErrDeadlineExceeded when no
// datagram has come from either side for f.idle.
func (f *flow) read(src net.Conn, b []byte) (int, error) {
	for {
		end := f.start.Add(time.Duration(f.last.Load()) + f.idle)
		if !time.Now().Before(end) {
			return 0, os.ErrDeadlineExceeded
		}
		src.SetReadDeadline(end)
		n, err := src.Read(b)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			continue // the other side may have moved the end
		}
		if err == nil {
			f.last.Store(int64(time.Since(f.start)))
		}
		return n, err
	}
}

// lost reports whether err says what became of one datagram, and not that the
// socket is of no more use, and then gives it to tell.
func lost(err error, tell func(error)) bool {
	for _, errno := range []syscall.Errno{syscall.ECONNREFUSED, syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.EHOSTDOWN,
		syscall.EMSGSIZE, syscall.ENOBUFS, syscall.EACCES, syscall.EPERM} {
		if errors.Is(err, errno) {
			tell(err)
			return true
		}
	}
	return false
}
