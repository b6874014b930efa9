package launcher

import (
	"encoding/binary"
	"slices"
	"syscall"
	"time"

	"adit/broker"

	"golang.org/x/sys/unix"
)

// socket is socket(2) of IP and, where sockets are kept, of AF_UNIX.
func (n *notifier) socket(c *call) outcome {
	domain, kind, protocol := int(int32(c.arg[0])), int(int32(c.arg[1])), int(int32(c.arg[2]))
	nonblock, cloexec := kind&unix.SOCK_NONBLOCK != 0, kind&unix.SOCK_CLOEXEC != 0
	if domain != unix.AF_UNIX && broker.IsElsewhere(c.tid) {
		return failure(unix.EACCES) // a network of its own has nothing of ours
	}
	fd, errno := n.makeSocket(domain, kind&^(unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC), protocol, nonblock)
	if errno != 0 {
		return failure(errno)
	}
	return outcome{fd: fd, cloexec: cloexec, keep: true}
}

func (n *notifier) makeSocket(domain, kind, protocol int, nonblock bool) (int, syscall.Errno) {
	isIP := domain == unix.AF_INET || domain == unix.AF_INET6
	switch {
	case domain == unix.AF_UNIX:
		if nonblock {
			kind |= unix.SOCK_NONBLOCK
		}
		fd, err := unix.Socket(domain, kind|unix.SOCK_CLOEXEC, protocol)
		return fd, errnoOf(err)
	case !isIP:
		return -1, unix.EAFNOSUPPORT
	case kind == unix.SOCK_STREAM && (protocol == 0 || protocol == unix.IPPROTO_TCP):
		return n.broker.NewStream(domain, nonblock)
	case kind == unix.SOCK_DGRAM && (protocol == 0 || protocol == unix.IPPROTO_UDP):
		return n.broker.NewDatagram(domain, nonblock)
	case kind == unix.SOCK_RAW || kind == unix.SOCK_PACKET:
		return -1, unix.EPERM
	case kind == unix.SOCK_DGRAM && (protocol == unix.IPPROTO_ICMP || protocol == unix.IPPROTO_ICMPV6):
		return -1, unix.EACCES
	case kind < 0 || kind > unix.SOCK_PACKET:
		return -1, unix.EINVAL
	case kind == unix.SOCK_STREAM || kind == unix.SOCK_DGRAM || kind == unix.SOCK_SEQPACKET || kind == unix.SOCK_DCCP:
		return -1, unix.EPROTONOSUPPORT
	}
	return -1, unix.ESOCKTNOSUPPORT
}

// errnoOf returns the errno of a system call of ours.
func errnoOf(err error) syscall.Errno {
	if err == nil {
		return 0
	}
	return errnoIn(err, unix.EIO)
}

// A subject is the socket that a call is about.
type subject struct {
	borrowed
	datagram *broker.Datagram // a UDP socket, if it is one
	stream   bool             // a TCP socket of ours
}

// subject finds it by descriptor, a call's first argument. It is given back with
// the call.
func (n *notifier) subject(c *call) (*subject, syscall.Errno) {
	if c.about != nil {
		return c.about, 0
	}
	b, errno := n.lender.borrow(c.tid, int32(uint32(c.arg[0])))
	if errno != 0 {
		return nil, errno
	}
	s := &subject{borrowed: b}
	if !n.stillWaits(c) {
		s.giveBack()
		return nil, unix.EINTR
	}
	c.about = s
	s.datagram = n.broker.Datagram(s.inode)
	s.stream = s.datagram == nil && s.fd >= 0 && n.broker.IsStream(s.fd)
	return s, 0
}

// place is where a call says that its socket is.
func (c *call) place() place { return place{c.tid, int32(uint32(c.arg[0]))} }

// connect is done here for sockets of every family. What cannot be had is not
// connected.
func (n *notifier) connect(c *call) outcome {
	s, errno := n.subject(c)
	if errno != 0 {
		return failure(errno)
	}
	if c.ctx == nil && s.datagram == nil {
		// Also where it is not to block: another thread may change that meanwhile.
		return outcome{waits: true, says: s.stream}
	}
	sa, errno := c.sockaddr(c.arg[1], c.arg[2])
	switch {
	case errno != 0:
	case s.datagram != nil:
		errno = s.datagram.Connect(sa)
	case s.stream:
		return n.connectStream(c, s, sa)
	case s.fd < 0:
		errno = n.lender.connectAgain(s.inode) // of all but those a copy is kept
	default:
		n.lender.lookBound()
		errno = n.broker.ConnectUnix(c.ctx, c.tid, s.fd, sa)
		if errno == 0 && !connectsAgain(s.fd) {
			n.lender.letGo(s.inode)
		}
	}
	return final(0, errno)
}

// connectStream is connect of a TCP socket of ours. While it is pending, also after a
// signal has ended the call, the broker may want to have the socket again.
func (n *notifier) connectStream(c *call, s *subject, sa []byte) outcome {
	n.lender.connects(s.inode, c.place())
	r := n.broker.Connect(c.ctx, s.inode, s.fd, sa, c.waits)
	n.lender.connected(s.inode, r.Errno)
	o := final(0, r.Errno)
	o.then = r.Relay
	if r.Untold != nil {
		o.once, o.lost, o.holds = false, r.Untold, true // the socket tells it then, to whoever asks
	}
	return o
}

// connectsAgain reports whether a socket can be connected elsewhere, or to nobody, when
// it is connected.
func connectsAgain(fd int) bool {
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	return err == nil && kind == unix.SOCK_DGRAM
}

func isNonblocking(fd int) bool {
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	return err == nil && flags&unix.O_NONBLOCK != 0
}

func (n *notifier) bind(c *call) outcome {
	s, errno := n.subject(c)
	if errno != 0 {
		return failure(errno)
	}
	switch {
	case s.datagram == nil && n.lender.wasParted(s.inode) != 0:
		return failure(unix.EINVAL) // it has an address
	case s.datagram == nil && !s.stream:
		n.lender.binds(s.inode)
		// Another socket under the descriptor would be bound, but could not listen.
		return goOn
	}
	sa, errno := c.sockaddr(c.arg[1], c.arg[2])
	if errno != 0 {
		return failure(errno)
	}
	return n.takePort(c, func() syscall.Errno { return n.bindTo(s, sa) })
}

// takePort does what may find a port in use.
func (n *notifier) takePort(c *call, do func() syscall.Errno) outcome {
	errno := do()
	if errno != unix.EADDRINUSE || !n.lender.keeps {
		return final(0, errno)
	}
	if c.ctx == nil {
		return outcome{waits: true}
	}
	// Perhaps only a copy of ours has the port still. Datagram sockets end a moment
	// after the last one.
	n.lender.look(0)
	for range 20 {
		if errno = do(); errno != unix.EADDRINUSE {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	return final(0, errno)
}

func (n *notifier) bindTo(s *subject, sa []byte) syscall.Errno {
	if s.datagram != nil {
		return s.datagram.Bind(s.fd, sa)
	}
	return n.broker.Bind(s.inode, s.fd, sa)
}

// listen is done here for sockets of every family, so that no TCP socket listens
// anywhere but where the broker has bound it.
func (n *notifier) listen(c *call) outcome {
	s, errno := n.subject(c)
	switch {
	case errno != 0:
		return failure(errno)
	case s.datagram != nil:
		return failure(unix.EOPNOTSUPP)
	case s.fd < 0 && n.lender.wasParted(s.inode) == isListening:
		return failure(0) // it goes on
	case s.fd < 0:
		return failure(unix.EINVAL) // of those that could a copy is kept
	}
	o := n.takePort(c, func() syscall.Errno { return n.broker.Listen(s.inode, s.fd, int(int32(c.arg[1]))) })
	if !o.waits && o.errno == 0 {
		n.lender.listens(s.inode, c.place(), n.broker.Renames(s.fd))
	}
	return o
}

func (n *notifier) accept(c *call) outcome  { return n.acceptWith(c, 0) }
func (n *notifier) accept4(c *call) outcome { return n.acceptWith(c, int(int32(c.arg[3]))) }

// acceptWith is done here only where the kernel would say another address than what
// the program knows.
func (n *notifier) acceptWith(c *call, flags int) outcome {
	s, errno := n.subject(c)
	if errno != 0 {
		return failure(errno)
	}
	switch {
	case s.datagram != nil:
		return failure(unix.EOPNOTSUPP)
	case !s.stream || !n.broker.Renames(s.fd) || flags&^(unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC) != 0:
		return goOn
	case c.ctx == nil:
		return outcome{waits: true}
	}
	still := func() bool { return n.stillWaits(c) }
	fd, peer, errno := n.broker.Accept(c.ctx, s.fd, flags, still)
	if errno != 0 {
		return failure(errno)
	}
	if errno := c.putSockaddr(c.arg[1], c.arg[2], peer); errno != 0 {
		unix.Close(fd)
		return failure(errno)
	}
	return outcome{fd: fd, cloexec: flags&unix.SOCK_CLOEXEC != 0, once: true}
}

func (n *notifier) getsockname(c *call) outcome {
	return n.name(c, (*broker.Broker).LocalName, func(d *broker.Datagram) ([]byte, syscall.Errno) { return d.LocalName(), 0 })
}

func (n *notifier) getpeername(c *call) outcome {
	return n.name(c, (*broker.Broker).PeerName, (*broker.Datagram).PeerName)
}

// name answers with an address of a socket of ours.
func (n *notifier) name(c *call, stream func(*broker.Broker, uint64, int) ([]byte, syscall.Errno), datagram func(*broker.Datagram) ([]byte, syscall.Errno)) outcome {
	s, errno := n.subject(c)
	if errno != 0 {
		return failure(errno)
	}
	var sa []byte
	switch {
	case s.datagram != nil:
		sa, errno = datagram(s.datagram)
	case s.fd < 0 && c.ctx == nil && !n.broker.Knows(s.inode):
		return outcome{waits: true} // it takes a look at all sockets
	case s.stream || s.fd < 0:
		if sa, errno = stream(n.broker, s.inode, s.fd); errno == unix.EACCES {
			return goOn
		}
	default:
		return goOn
	}
	if errno == 0 {
		errno = c.putSockaddr(c.arg[1], c.arg[2], sa)
	}
	return failure(errno)
}

// isUnfit reports whether an option is not to reach the kernel: what is under the
// descriptor may be another socket by then.
func isUnfit(level, name int32) bool {
	return level == unix.SOL_IP && slices.Contains(broker.UnfitIPv4, uint32(name)) ||
		level == unix.SOL_IPV6 && slices.Contains(broker.UnfitIPv6, uint32(name))
}

// maxOption is the size of the largest value of an option that is looked at.
const maxOption = 1024

func (n *notifier) setsockopt(c *call) outcome {
	level, name := int32(c.arg[1]), int32(c.arg[2])
	s, errno := n.subject(c)
	if errno != 0 {
		return failure(errno)
	}
	if s.datagram == nil {
		if isUnfit(level, name) {
			return failure(unix.ENOPROTOOPT)
		}
		return goOn
	}
	size := int32(c.arg[4])
	if size < 0 || size > maxOption {
		return failure(unix.EINVAL)
	}
	value, errno := c.read(c.arg[3], int(size))
	if errno != 0 {
		return failure(errno)
	}
	return failure(s.datagram.SetOption(int(level), int(name), value))
}

func (n *notifier) getsockopt(c *call) outcome {
	level, name := int(int32(c.arg[1])), int(int32(c.arg[2]))
	s, errno := n.subject(c)
	if errno != 0 {
		return failure(errno)
	}
	var value []byte
	var lost func()
	hidden := level == unix.SOL_SOCKET && (name == unix.SO_BINDTODEVICE || name == unix.SO_BINDTOIFINDEX)
	switch {
	case hidden && (s.datagram != nil || s.stream):
		if name == unix.SO_BINDTOIFINDEX {
			value = make([]byte, 4)
		}
	case s.datagram != nil:
		value, errno = s.datagram.GetOption(level, name)
	case level == unix.SOL_SOCKET && name == unix.SO_ERROR && s.stream:
		n.more() // it may wait a moment
		failed := n.broker.SocketError(s.inode, s.fd)
		value = binary.NativeEndian.AppendUint32(nil, uint32(failed))
		lost = func() { n.broker.ReturnError(s.inode, failed) }
	case level == unix.SOL_IPV6 && name == unix.IPV6_V6ONLY && (s.stream || s.fd < 0) && n.broker.IsV6Only(s.inode, s.fd):
		value = binary.NativeEndian.AppendUint32(nil, 1)
	default:
		return goOn
	}
	if errno == 0 {
		errno = c.putOption(value)
	}
	return outcome{errno: errno, lost: lost}
}

// putOption writes the value of an option where getsockopt wants it.
func (c *call) putOption(value []byte) syscall.Errno {
	at, lenAt := c.arg[3], c.arg[4]
	b, errno := c.read(lenAt, 4)
	if errno != 0 {
		return errno
	}
	room := int32(binary.NativeEndian.Uint32(b))
	if room < 0 {
		return unix.EINVAL
	}
	value = value[:min(int(room), len(value))]
	if errno := c.write(at, value); errno != 0 {
		return errno
	}
	binary.NativeEndian.PutUint32(b, uint32(len(value)))
	return c.write(lenAt, b)
}
