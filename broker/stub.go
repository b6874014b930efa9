package broker

import (
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"
)

const (
	dnsPort = 53

	// maxQuestions is how many questions wait for Config.Answer to read them. What
	// comes on top is dropped, and asked again by who has asked.
	maxQuestions = 256
)

// isStub reports whether to is a nameserver that Config.Answer answers for.
func (b *Broker) isStub(to netip.AddrPort) bool {
	return to.Port() == dnsPort && slices.Contains(b.cfg.Stubs, to.Addr())
}

// A stubServer has the sockets that Config.Answer serves: in memory, one for
// datagrams and one for streams, each begun when it is first asked.
type stubServer struct {
	mu     sync.Mutex // guards what follows
	closed bool
	udp    *stubSocket
	tcp    *stubListener
}

// ask brings the question of a socket to Config.Answer; false if there is none.
func (b *Broker) ask(d *Datagram, from, to netip.AddrPort, payload []byte) bool {
	s := &b.udp.stub
	s.mu.Lock()
	defer s.mu.Unlock()
	if b.cfg.Answer == nil || s.closed {
		return false
	}
	if s.udp == nil {
		s.udp = &stubSocket{make(chan question, maxQuestions), make(chan struct{}), sync.Once{}}
		pc := s.udp
		b.udp.running.Go(func() {
			defer pc.Close()
			b.cfg.Answer(pc, nil)
		})
	}
	select {
	case s.udp.questions <- question{stubAddr{d, from.Addr(), to}, slices.Clone(payload)}:
	default:
	}
	return true
}

// stubConn connects to a nameserver that Config.Answer answers for.
func (b *Broker) stubConn() (net.Conn, error) {
	s := &b.udp.stub
	s.mu.Lock()
	if b.cfg.Answer == nil || s.closed {
		s.mu.Unlock()
		return nil, os.NewSyscallError("connect", syscall.ECONNREFUSED)
	}
	if s.tcp == nil {
		s.tcp = &stubListener{make(chan net.Conn), make(chan struct{}), sync.Once{}}
		l := s.tcp
		b.udp.running.Go(func() {
			defer l.Close()
			b.cfg.Answer(nil, l)
		})
	}
	l := s.tcp
	s.mu.Unlock()
	near, far := net.Pipe()
	select {
	case l.conns <- far:
		return near, nil
	case <-l.done:
		return nil, os.NewSyscallError("connect", syscall.ECONNREFUSED)
	}
}

func (s *stubServer) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.udp != nil {
		s.udp.Close()
	}
	if s.tcp != nil {
		s.tcp.Close()
	}
}

type question struct {
	from    stubAddr
	payload []byte
}

// A stubAddr is whom an answer is for.
type stubAddr struct {
	d     *Datagram
	local netip.Addr     // from which d has asked
	asked netip.AddrPort // whom
}

func (stubAddr) Network() string  { return "udp" }
func (a stubAddr) String() string { return a.local.String() }

// A stubSocket is the nameserver's socket of datagrams.
type stubSocket struct {
	questions chan question // sent to by sockets, never closed
	done      chan struct{} // closed by Close
	once      sync.Once
}

var _ net.PacketConn = (*stubSocket)(nil)

func (s *stubSocket) ReadFrom(b []byte) (int, net.Addr, error) {
	select {
	case q := <-s.questions:
		return copy(b, q.payload), q.from, nil
	case <-s.done:
		return 0, nil, s.error("read", net.ErrClosed)
	}
}

func (s *stubSocket) WriteTo(b []byte, to net.Addr) (int, error) {
	a, is := to.(stubAddr)
	if !is {
		return 0, s.error("write", os.ErrInvalid)
	}
	a.d.in.push(tag{a.asked, a.local}, b)
	return len(b), nil
}

func (s *stubSocket) Close() error {
	s.once.Do(func() { close(s.done) })
	return nil
}

func (*stubSocket) error(op string, err error) error {
	return &net.OpError{Op: op, Net: "udp", Err: err}
}

func (*stubSocket) LocalAddr() net.Addr { return &net.UDPAddr{Port: dnsPort} }

// Nobody who serves needs deadlines: an answer is never waited for.
func (s *stubSocket) SetDeadline(time.Time) error      { return s.error("set", os.ErrNoDeadline) }
func (s *stubSocket) SetReadDeadline(time.Time) error  { return s.error("set", os.ErrNoDeadline) }
func (s *stubSocket) SetWriteDeadline(time.Time) error { return s.error("set", os.ErrNoDeadline) }

// A stubListener is the nameserver's listener.
type stubListener struct {
	conns chan net.Conn // sent to by stubConn, never closed
	done  chan struct{} // closed by Close
	once  sync.Once
}

func (l *stubListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, &net.OpError{Op: "accept", Net: "tcp", Err: net.ErrClosed}
	}
}

func (l *stubListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (*stubListener) Addr() net.Addr { return &net.TCPAddr{Port: dnsPort} }
