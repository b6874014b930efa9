package broker

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"syscall"

	"adit/netstack"
)

// A Config says what a Broker works with.
type Config struct {
	Dialer    netstack.Dialer
	Addresses []netip.Addr // the program's own, in the tunnel

	// Stubs are the nameservers whose port 53 is answered by Answer instead of
	// being asked. Answer serves either of its arguments, the other is nil, until
	// it is closed. If nil, the stubs refuse.
	Stubs  []netip.Addr
	Answer func(udp net.PacketConn, tcp net.Listener)

	// Exposed reports whether the program's listeners at a TCP port are reached from
	// the tunnel. If nil, none is.
	Exposed func(port uint16) bool

	// Borrow, if not nil, returns a descriptor, which becomes ours, of the program's TCP
	// socket with the inode, whose connect is pending; -1 if it cannot be had.
	Borrow func(ino uint64) int

	// Closed, if not nil, returns those of some TCP sockets, by inode, that no process
	// of the program's has any more: none where that cannot be known. Without it and
	// without Borrow, a connect that is pending goes on when its socket is closed.
	Closed func(inodes map[uint64]bool) map[uint64]bool

	// Settled, if not nil, is told of each TCP socket whose connect has been made, or
	// is the kernel's business: nothing more is done for it here.
	Settled func(ino uint64)

	// EndListeners, if not nil, lets go of listeners that the program has closed. It is
	// called before one is connected to.
	EndListeners func()

	// Resolvers are the directories of the sockets by which resolver daemons of
	// the host are asked: ConnectUnix refuses those.
	Resolvers []string

	Logger *slog.Logger // nil discards
}

// A Broker makes and serves the sockets of one run.
type Broker struct {
	cfg  Config
	log  *slog.Logger
	lo   *loopback
	ctx  context.Context // ends with the Broker
	stop context.CancelFunc

	later     later
	streams   streams
	resolvers resolvers
	unixWaits unixWaits
	udp       datagramState

	mu        sync.Mutex // guards what follows
	datagrams map[uint64]*Datagram
}

// New opens the broker's own sockets on lo.
func New(cfg Config) (*Broker, error) {
	lo, err := openLoopback()
	if err != nil {
		return nil, err
	}
	b := &Broker{cfg: cfg, log: cfg.Logger, lo: lo, datagrams: make(map[uint64]*Datagram)}
	if b.log == nil {
		b.log = slog.New(slog.DiscardHandler)
	}
	if err := b.later.open(); err != nil {
		lo.Close()
		return nil, err
	}
	b.ctx, b.stop = context.WithCancel(context.Background())
	b.streams.init()
	b.resolvers.dirs = cfg.Resolvers
	b.resolvers.see()
	return b, nil
}

// Close ends every connection. What the program holds goes dead with it.
func (b *Broker) Close() error {
	b.stop()
	b.later.close()
	b.closeDatagrams()
	b.streams.wait()
	b.streams.closeGuards()
	return b.lo.Close()
}

// Datagram returns the UDP socket with the inode, nil if that is none.
func (b *Broker) Datagram(ino uint64) *Datagram {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.datagrams[ino]
}

// HasDatagrams reports whether the program has any UDP socket.
func (b *Broker) HasDatagrams() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.datagrams) > 0
}

func (b *Broker) settled(ino uint64) {
	if b.cfg.Settled != nil {
		b.cfg.Settled(ino)
	}
}

// isOwn reports whether addr is the program's own: of its loopback, or its
// address in the tunnel.
func (b *Broker) isOwn(addr netip.Addr) bool {
	if addr.IsLoopback() {
		return true
	}
	for _, a := range b.cfg.Addresses {
		if a == addr {
			return true
		}
	}
	return false
}

// ok is the result of a call that succeeded.
const ok = syscall.Errno(0)
