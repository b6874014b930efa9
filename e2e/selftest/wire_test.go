package selftest

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// The types of WireGuard's messages (§5.4).
const (
	initiation  = 1
	response    = 2
	cookieReply = 3
	dataMessage = 4
)

// A datagram is what the wire saw of one UDP datagram that is not a fragment.
type datagram struct {
	at       time.Time
	from, to netip.AddrPort
	kind     uint32 // of WireGuard's message
	size     int    // of UDP's payload
	packet   int    // of the whole IP packet
}

// A wire watches one interface, both directions.
type wire struct {
	h    *host
	f    *os.File
	done chan struct{} // closed when nothing more is read
	mu   sync.Mutex    // guards seen and err
	seen []datagram
	err  error // why no more is read
}

// watch begins to watch an interface of h, until the test ends.
func (h *host) watch(link string) *wire {
	h.t.Helper()
	w := &wire{h: h, done: make(chan struct{})}
	h.do(func() error {
		l, err := net.InterfaceByName(link)
		if err != nil {
			return err
		}
		all := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, unix.ETH_P_ALL))
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return os.NewSyscallError("socket", err)
		}
		w.f = os.NewFile(uintptr(fd), "packets of "+link)
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20)
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1); err != nil {
			return os.NewSyscallError("setsockopt", err)
		}
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: l.Index})
	})
	go w.read()
	h.t.Cleanup(func() {
		w.f.Close()
		<-w.done
	})
	return w
}

func (w *wire) read() {
	defer close(w.done)
	buf := make([]byte, 65536)
	for {
		n, at, err := w.next(buf)
		if err != nil {
			w.mu.Lock()
			w.err = err
			w.mu.Unlock()
			return
		}
		if d, ok := parseDatagram(buf[:n]); ok {
			d.at = at
			w.mu.Lock()
			w.seen = append(w.seen, d)
			w.mu.Unlock()
		}
	}
}

// next waits for a packet and returns when the kernel had it: this process may
// come to read it much later.
func (w *wire) next(buf []byte) (n int, at time.Time, err error) {
	conn, err := w.f.SyscallConn()
	if err != nil {
		return 0, at, err
	}
	control, nControl, errRead := make([]byte, 128), 0, error(nil)
	if err := conn.Read(func(fd uintptr) bool {
		n, nControl, _, _, errRead = unix.Recvmsg(int(fd), buf, control, unix.MSG_DONTWAIT)
		return errRead != unix.EAGAIN && errRead != unix.EINTR
	}); err != nil {
		return 0, at, err
	}
	if errRead != nil {
		return 0, at, os.NewSyscallError("recvmsg", errRead)
	}
	messages, err := unix.ParseSocketControlMessage(control[:nControl])
	if err != nil || len(messages) != 1 || len(messages[0].Data) != 16 {
		return 0, at, fmt.Errorf("a packet without its time: %v (%v)", messages, err)
	}
	native, stamp := binary.NativeEndian, messages[0].Data
	return n, time.Unix(int64(native.Uint64(stamp)), int64(native.Uint64(stamp[8:]))), nil
}

// parseDatagram reads an IP packet that holds all of a UDP datagram; at is the
// caller's.
func parseDatagram(b []byte) (d datagram, ok bool) {
	d = datagram{packet: len(b)}
	var from, to netip.Addr
	switch {
	case len(b) >= 28 && b[0]>>4 == 4 && b[9] == unix.IPPROTO_UDP && binary.BigEndian.Uint16(b[6:])&0x3fff == 0:
		from, to = netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20]))
		b = b[int(b[0]&15)*4:]
	case len(b) >= 48 && b[0]>>4 == 6 && b[6] == unix.IPPROTO_UDP:
		from, to = netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40]))
		b = b[40:]
	default:
		return d, false
	}
	if len(b) < 12 {
		return d, false
	}
	d.from = netip.AddrPortFrom(from, binary.BigEndian.Uint16(b))
	d.to = netip.AddrPortFrom(to, binary.BigEndian.Uint16(b[2:]))
	d.size = len(b) - 8
	d.kind = binary.LittleEndian.Uint32(b[8:])
	return d, true
}

// filter returns what the wire saw so far and is accepted, in order. What was
// sent this moment may not be among it yet.
func (w *wire) filter(accept func(datagram) bool) (list []datagram) {
	w.h.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		w.h.t.Errorf("the wire is not watched any more: %v", w.err)
	}
	for _, d := range w.seen {
		if accept(d) {
			list = append(list, d)
		}
	}
	return list
}

// from returns what came from that endpoint.
func (w *wire) from(endpoint string) []datagram {
	e := netip.MustParseAddrPort(endpoint)
	return w.filter(func(d datagram) bool { return d.from == e })
}

// fromAddr returns what came from that address, whatever the port.
func (w *wire) fromAddr(addr string) []datagram {
	a := netip.MustParseAddr(addr)
	return w.filter(func(d datagram) bool { return d.from.Addr() == a })
}

// kinds returns the messages of that kind.
func kinds(list []datagram, kind uint32) (of []datagram) {
	for _, d := range list {
		if d.kind == kind {
			of = append(of, d)
		}
	}
	return of
}

func (d datagram) String() string {
	return fmt.Sprintf("%s %v → %v type %d, %d bytes", d.at.Format("15:04:05.000"), d.from, d.to, d.kind, d.size)
}
