package tap

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// A Tap is a capture that is running. Its methods are safe for concurrent use.
type Tap struct {
	f    *os.File      // a packet socket
	done chan struct{} // closed when all is read
	stop sync.Once

	mu      sync.Mutex // guards what follows
	packets []Packet
	err     error
}

// Open starts to keep the packets of an interface in the network namespace of
// the calling thread.
func Open(name string) (*Tap, error) { return open(name, nil) }

// OpenInitiations keeps those alone that are as long as an initiation, for
// captures that go on for hours.
func OpenInitiations(name string) (*Tap, error) { return open(name, initiations) }

// initiations accepts IPv4 and IPv6 datagrams with a payload of 148 bytes: total
// length, or payload length, of the IP header.
var initiations = []bpf.Instruction{
	bpf.LoadAbsolute{Off: 0, Size: 1},
	bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: 4},
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: 6, SkipTrue: 2},
	bpf.LoadAbsolute{Off: 2, Size: 2},
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: 20 + 8 + InitiationLen, SkipTrue: 2, SkipFalse: 3},
	bpf.LoadAbsolute{Off: 4, Size: 2},
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 8 + InitiationLen, SkipTrue: 1},
	bpf.RetConstant{Val: 1 << 17},
	bpf.RetConstant{Val: 0},
}

// attach lets a socket hear what prog accepts.
func attach(fd int, prog []bpf.Instruction) error {
	raw, err := bpf.Assemble(prog)
	if err != nil {
		return err
	}
	filter := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		filter[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	f := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	return os.NewSyscallError("attach filter", unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &f))
}

func open(name string, filter []bpf.Instruction) (*Tap, error) {
	link, err := net.InterfaceByName(name)
	if err != nil {
		return nil, err
	}
	// Protocol 0 keeps it deaf until it is bound: packet(7).
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket(AF_PACKET)", err)
	}
	const room = 64 << 20
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, room) != nil {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, room) // as much as there is
	}
	if err == nil {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1)
	}
	if err == nil && filter != nil {
		err = attach(fd, filter)
	}
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL), Ifindex: link.Index})
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("capture on %s: %w", name, err)
	}
	t := &Tap{f: os.NewFile(uintptr(fd), "tap"), done: make(chan struct{})}
	go t.read()
	return t, nil
}

// read keeps packets until the tap is closing and nothing is left.
func (t *Tap) read() {
	defer close(t.done)
	conn, err := t.f.SyscallConn()
	if err != nil {
		t.fail(err)
		return
	}
	buf, oob := make([]byte, 1<<17), make([]byte, 256)
	for {
		err := conn.Read(func(fd uintptr) bool { return !t.drain(int(fd), buf, oob) })
		switch {
		case err == nil:
		case errors.Is(err, os.ErrDeadlineExceeded): // Stop: what has come meanwhile
			conn.Control(func(fd uintptr) { t.drain(int(fd), buf, oob) })
			return
		default:
			t.fail(err)
			return
		}
	}
}

// drain takes all that is queued and reports whether to wait for more.
func (t *Tap) drain(fd int, buf, oob []byte) bool {
	for {
		n, nOOB, _, from, err := unix.Recvmsg(fd, buf, oob, unix.MSG_DONTWAIT)
		switch err {
		case nil:
		case unix.EINTR, unix.ENETDOWN: // the interface went away, or came back
			continue
		case unix.EAGAIN:
			return true
		default:
			t.fail(os.NewSyscallError("recvmsg", err))
			return false
		}
		ll, ok := from.(*unix.SockaddrLinklayer)
		if !ok {
			t.fail(fmt.Errorf("recvmsg: source is a %T", from))
			return false
		}
		p := parse(htons(ll.Protocol), slices.Clone(buf[:n]))
		p.At, p.Out = timeOf(oob[:nOOB]), ll.Pkttype == unix.PACKET_OUTGOING
		t.mu.Lock()
		t.packets = append(t.packets, p)
		t.mu.Unlock()
	}
}

// timeOf returns the kernel's time stamp among the control messages.
func timeOf(oob []byte) time.Time {
	messages, _ := unix.ParseSocketControlMessage(oob)
	for _, m := range messages {
		if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == syscall.SCM_TIMESTAMPNS && len(m.Data) >= 16 {
			sec, nsec := native.Uint64(m.Data), native.Uint64(m.Data[8:])
			return time.Unix(int64(sec), int64(nsec))
		}
	}
	return time.Now()
}

func (t *Tap) fail(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.err = errors.Join(t.err, err)
}

// Packets returns what was seen so far, in order.
func (t *Tap) Packets() []Packet {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clip(t.packets)
}

// Quiet waits until nothing was seen for a while, and forgets what was: a cable
// that was just laid is not quite silent.
func (t *Tap) Quiet(d time.Duration) {
	for last, since := -1, time.Now(); time.Since(since) < d; time.Sleep(d / 20) {
		if n := len(t.Packets()); n != last {
			last, since = n, time.Now()
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.packets = nil
}

// Stop ends the capture and returns all of it. A packet that was sent before is
// in it; it is an error if one could not be kept. Once is enough.
func (t *Tap) Stop() ([]Packet, error) {
	t.stop.Do(t.end)
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.packets, t.err
}

func (t *Tap) end() {
	defer t.f.Close()
	t.f.SetReadDeadline(time.Unix(1, 0))
	<-t.done
	conn, err := t.f.SyscallConn()
	if err != nil {
		t.fail(err)
		return
	}
	conn.Control(func(fd uintptr) {
		stats, err := unix.GetsockoptTpacketStats(int(fd), unix.SOL_PACKET, unix.PACKET_STATISTICS)
		switch {
		case err != nil:
			t.fail(os.NewSyscallError("getsockopt(PACKET_STATISTICS)", err))
		case stats.Drops > 0:
			t.fail(fmt.Errorf("the tap had no room for %d packets", stats.Drops))
		}
	})
}

func htons(v uint16) uint16 { return v<<8 | v>>8 }
