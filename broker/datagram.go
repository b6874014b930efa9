package broker

import (
	"math"
	"net/netip"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// A Datagram is a UDP socket of the program. What the program holds is the near
// end of a pair of AF_UNIX sockets that keep the bounds of messages; the broker has
// the far end, and no descriptor of the near one: the last one that is closed
// ends the socket.
//
//	program                     broker
//	send, write  ──▶ near │ far ──▶ drain ──▶ transmit ──▶ tunnel, switch, stub
//	sendto(addr), sendmsg ─────────▶ Send ─────▲
//	recv, read   ◀── near │ far ◀── inbox ◀──────────────── tunnel, switch, stub
//	recvfrom(addr), recvmsg ──▶ Receive, which reads the near end too
//
// It has two goroutines at most that stay: one reads the far end, one the socket in
// the tunnel, if it has any.
type Datagram struct {
	b      *Broker
	family int
	ino    uint64 // of the near end
	far    *os.File
	raw    syscall.RawConn // of far
	in     inbox
	opts   options

	outMu sync.Mutex // what the program has sent natively is read by one; before mu

	mu     sync.Mutex     // guards what follows; before the locks of switch and inbox
	bound  bool           // it has a port, though nobody may have chosen it yet
	asked  netip.AddrPort // by bind, or what it is without: the port may be 0
	shares sharing        // when it was bound
	hold   *hold          // what the socket occupies; nil as long as nobody can tell
	peer   netip.AddrPort // of connect
	source netip.Addr     // from which the first peer was reached; AF_UNSPEC ends it
	ended  bool

	endOnce sync.Once
	done    chan struct{} // closed by end
}

// A Message is what sendmsg(2) is given.
type Message struct {
	To      []byte // sockaddr; nil: the connected peer
	Payload []byte
	Control []byte // raw cmsgs; UDP_SEGMENT is honoured, all else is ignored
	Flags   int    // MSG_OOB is refused, all else is ignored
}

// datagramState is what the UDP sockets of a Broker have in common.
type datagramState struct {
	sw      switchboard
	tags    tagCache
	stub    stubServer
	closed  bool           // guarded by Broker.mu
	running sync.WaitGroup // all goroutines, each added by one that is counted, or under Broker.mu
}

// maxDatagram is more than any datagram holds: 65527 bytes over IPv6.
const maxDatagram = 1 << 16

// datagramBuffers are for one datagram each.
var datagramBuffers = sync.Pool{New: func() any { return new([maxDatagram]byte) }}

// NewDatagram makes a UDP socket. The descriptor is the caller's, closed on exec,
// and the only one.
func (b *Broker) NewDatagram(family int, nonblock bool) (int, syscall.Errno) {
	if family != unix.AF_INET && family != unix.AF_INET6 {
		return -1, unix.EAFNOSUPPORT
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, errnoOf(err)
	}
	near, far := pair[0], pair[1]
	d, err := b.newDatagram(family, nonblock, near, far)
	if err == nil && !b.register(d) {
		d.far.Close()
		err = unix.ENETDOWN
	}
	if err != nil {
		unix.Close(near)
		return -1, errnoOf(err)
	}
	return near, ok
}

// newDatagram owns far from now on.
func (b *Broker) newDatagram(family int, nonblock bool, near, far int) (d *Datagram, err error) {
	defer func() {
		if err != nil {
			unix.Close(far)
		}
	}()
	var st unix.Stat_t
	if err := unix.Fstat(near, &st); err != nil {
		return nil, err
	}
	if err := unix.SetNonblock(near, nonblock); err != nil {
		return nil, err
	}
	if err := unix.SetNonblock(far, true); err != nil {
		return nil, err
	}
	// Each message comes with its time then, the end of them does not: an empty
	// datagram could not be told from it otherwise.
	if err := unix.SetsockoptInt(far, unix.SOL_SOCKET, unix.SO_TIMESTAMP, 1); err != nil {
		return nil, err
	}
	d = &Datagram{b: b, family: family, ino: st.Ino, far: os.NewFile(uintptr(far), "udp"), done: make(chan struct{})}
	if d.raw, err = d.far.SyscallConn(); err != nil {
		return nil, err
	}
	d.in.raw, d.in.state = d.raw, &b.udp
	return d, nil
}

// register makes d known and starts it; not if the Broker has been closed.
func (b *Broker) register(d *Datagram) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.udp.closed {
		return false
	}
	if b.datagrams == nil {
		b.datagrams = make(map[uint64]*Datagram)
	}
	b.datagrams[d.ino] = d
	b.udp.running.Go(d.run)
	return true
}

// run sends what the program has sent, until its last descriptor is closed.
func (d *Datagram) run() {
	d.raw.Read(func(fd uintptr) (end bool) { return d.drain(fd, math.MaxInt) })
	d.end()
}

// end gives back all that the socket has.
func (d *Datagram) end() {
	d.endOnce.Do(func() {
		d.b.mu.Lock()
		if d.b.datagrams[d.ino] == d {
			delete(d.b.datagrams, d.ino)
		}
		d.b.mu.Unlock()
		d.mu.Lock()
		d.ended = true
		d.release()
		d.mu.Unlock()
		d.in.close()
		close(d.done)
		d.far.Close()
	})
}

// closeDatagrams ends all UDP sockets and waits for their goroutines.
func (b *Broker) closeDatagrams() {
	b.mu.Lock()
	b.udp.closed = true
	var all []*Datagram
	for _, d := range b.datagrams {
		all = append(all, d)
	}
	b.mu.Unlock()
	for _, d := range all {
		d.end()
	}
	b.udp.stub.close()
	b.udp.running.Wait()
	b.udp.tags.close()
}
