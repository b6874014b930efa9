package hostile

import (
	"encoding/binary"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Races: one thread makes a call again and again, another one changes what it points
// to meanwhile. Who looks at it first and lets the kernel look again loses one.
var raceAttempts = category("races", usual(own(), own(), refused(unix.EACCES)),
	race("race-connect", "the address of connect: beyond, and the host's loopback", raceConnect),
	race("race-connect-family", "its family: AF_UNIX, and AF_INET to the host's loopback", raceFamily),
	race("race-sendto", "the address of a datagram: beyond, and the host's loopback", raceSendto),
	race("race-msg-name", "the address of a message, and its length", raceName),
	race("race-msg-control", "the control message of a message: nothing, and IP_PKTINFO", raceControl),
	race("race-msg-all", "where a message's parts are: address, data, control", raceHeader),
	race("race-unix-path", "the path of a unix socket: nothing there, and a resolver of the host's", raceUnixPath),
	race("race-unix-link", "a symbolic link in the path: to nothing, and to that", raceUnixLink),
	race("race-dup-connect", "the descriptor of connect: a unix socket, one of TCP, one of UDP", raceDupConnect),
	race("race-dup-sendmsg", "the descriptor of a message that connects (MSG_FASTOPEN)", raceDupSend),
	race("race-dup-setsockopt", "the descriptor of an option that joins a group", raceDupOption),
	race("race-dup-bind", "the descriptor of bind, to the host's 127.0.0.1", raceDupBind),
)

func race(name, does string, try func(*World) Result) *Attempt {
	return &Attempt{Name: name, Does: "from another thread, " + does, Control: Everybody, Patient: true, try: try}
}

// raceTries is how often a race is run: often enough for any that can be lost.
// Where there is no adit a few are enough, each of which lets the other thread run.
const (
	raceTries        = 10_000
	raceTriesControl = 1000
	raceBurst        = 16
)

// against calls change in a thread of its own, with 0 and 1 by turns, while try is
// called as often as races are tried.
func against(w *World, change func(side uint64), try func()) Result {
	var over atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		for i := uint64(0); !over.Load(); i++ {
			change(i & 1)
		}
	}()
	for i := 0; i < raceTries && (w.Mode != "" || i < raceTriesControl); i++ {
		try()
		if w.Mode == "" || i%raceBurst == 0 {
			unix.Poll(nil, 1) // the capture has to keep up, too
		}
	}
	over.Store(true)
	<-done
	return sent()
}

// words are memory that two threads use at once: 64 bits are changed in one piece.
type words []uint64

// sides returns the changes of the word at index i between what two byte slices
// have there.
func (m words) sides(i int, a, b []byte) func(uint64) {
	both := [2]uint64{binary.NativeEndian.Uint64(a[8*i:]), binary.NativeEndian.Uint64(b[8*i:])}
	return func(side uint64) { atomic.StoreUint64(&m[i], both[side]) }
}

// copied returns words with the bytes of b.
func copied(b []byte) words {
	m := make(words, (len(b)+15)/8)
	for i := range len(b) / 8 {
		m[i] = binary.NativeEndian.Uint64(b[8*i:])
	}
	return m
}

func (m words) pointer() unsafe.Pointer { return unsafe.Pointer(&m[0]) }

// connectTo connects a new socket of TCP to a struct sockaddr in memory and, as it
// does not block, writes at once: on loopback it is connected by then.
func connectTo(text []byte, name unsafe.Pointer, size uintptr) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return
	}
	unix.Syscall(unix.SYS_CONNECT, uintptr(fd), uintptr(name), size)
	unix.Write(fd, text)
	unix.Close(fd)
}

// mayMake reports whether such a socket is to be had at all.
func mayMake(domain, kind int) Result {
	fd, err := unix.Socket(domain, kind, 0)
	if err != nil {
		return no("socket", err)
	}
	unix.Close(fd)
	return Result{}
}

// elsewhere is an address to which nothing is to be said against.
func (w *World) elsewhere() netip.AddrPort { list := w.targets(false); return list[len(list)-1] }

func raceConnect(w *World) Result {
	if r := mayMake(unix.AF_INET, unix.SOCK_STREAM); r.State != "" {
		return r
	}
	a, b, text := inet4(w.elsewhere()), inet4(w.loopback(false)), []byte(w.canary())
	m := copied(a)
	return against(w, m.sides(0, a, b), func() { connectTo(text, m.pointer(), unix.SizeofSockaddrInet4) })
}

func raceFamily(w *World) Result {
	if r := mayMake(unix.AF_INET, unix.SOCK_STREAM); r.State != "" {
		return r
	}
	b, text := inet4(w.loopback(false)), []byte(w.canary())
	a := append([]byte{}, b...)
	binary.NativeEndian.PutUint16(a, unix.AF_UNIX)
	m := copied(a)
	return against(w, m.sides(0, a, b), func() { connectTo(text, m.pointer(), unix.SizeofSockaddrInet4) })
}

func raceSendto(w *World) Result {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return no("socket", err)
	}
	a, b, text := inet4(w.elsewhere()), inet4(w.loopback(false)), []byte(w.canary())
	m := copied(a)
	return against(w, m.sides(0, a, b), func() {
		unix.Syscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&text[0])), uintptr(len(text)), 0, uintptr(m.pointer()), unix.SizeofSockaddrInet4)
	})
}

// A raceMessage is struct msghdr and all that it points to.
type raceMessage struct {
	header  unix.Msghdr
	iov     unix.Iovec
	name    words
	text    []byte
	control []byte
}

func newRaceMessage(w *World, target netip.AddrPort, control []byte) *raceMessage {
	m := &raceMessage{name: copied(inet4(target)), text: []byte(w.canary()), control: control}
	m.iov.Base = &m.text[0]
	m.iov.SetLen(len(m.text))
	m.header = unix.Msghdr{Name: (*byte)(m.name.pointer()), Namelen: unix.SizeofSockaddrInet4, Iov: &m.iov}
	m.header.SetIovlen(1)
	if control != nil {
		m.header.Control = &control[0]
		m.header.SetControllen(len(control))
	}
	return m
}

func (m *raceMessage) send(fd, flags int) {
	unix.Syscall(unix.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(&m.header)), uintptr(flags))
}

func raceName(w *World) Result {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return no("socket", err)
	}
	a, b := inet4(w.elsewhere()), inet4(w.loopback(false))
	m := newRaceMessage(w, w.elsewhere(), nil)
	name := m.name.sides(0, a, b)
	return against(w, func(side uint64) {
		name(side)
		atomic.StoreUint32(&m.header.Namelen, uint32(side^1)*unix.SizeofSockaddrInet4)
		atomic.StoreUint32(&m.header.Namelen, unix.SizeofSockaddrInet4)
	}, func() { m.send(fd, 0) })
}

func raceControl(w *World) Result {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return no("socket", err)
	}
	m := newRaceMessage(w, w.elsewhere(), unix.PktInfo4(&unix.Inet4Pktinfo{Ifindex: int32(w.Link), Spec_dst: w.Host4.As4()}))
	h := (*unix.Cmsghdr)(unsafe.Pointer(&m.control[0]))
	kinds := [2]int32{unix.IP_TOS, unix.IP_PKTINFO}
	return against(w, func(side uint64) {
		atomic.StoreInt32(&h.Type, kinds[side])
		atomic.StoreInt32((*int32)(unsafe.Pointer(&m.control[unix.CmsgLen(0)])), int32(side)*int32(w.Link))
	}, func() { m.send(fd, 0) })
}

// raceHeader changes the pointers, and the bytes behind them stay.
func raceHeader(w *World) Result {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return no("socket", err)
	}
	near, far := copied(inet4(w.loopback(false))), copied(inet4(w.elsewhere()))
	control := unix.PktInfo4(&unix.Inet4Pktinfo{Ifindex: int32(w.Link), Spec_dst: w.Host4.As4()})
	m := newRaceMessage(w, w.elsewhere(), nil)
	names := [2]unsafe.Pointer{far.pointer(), near.pointer()}
	controls := [2]unsafe.Pointer{nil, unsafe.Pointer(&control[0])}
	texts := [2]unsafe.Pointer{unsafe.Pointer(&m.text[0]), unsafe.Pointer(&[]byte(w.canary())[0])}
	m.header.SetControllen(len(control))
	return against(w, func(side uint64) {
		atomic.StorePointer((*unsafe.Pointer)(unsafe.Pointer(&m.header.Name)), names[side])
		atomic.StorePointer((*unsafe.Pointer)(unsafe.Pointer(&m.header.Control)), controls[side])
		atomic.StorePointer((*unsafe.Pointer)(unsafe.Pointer(&m.iov.Base)), texts[side])
	}, func() { m.send(fd, 0) })
}

// raceUnixPath changes one letter.
func raceUnixPath(w *World) Result {
	if r := mayConnectUnix(); r.State != "" {
		return r
	}
	a := make([]byte, 2+len(resolver)+8)
	binary.NativeEndian.PutUint16(a, unix.AF_UNIX)
	copy(a[2:], resolver)
	b := append([]byte{}, a...)
	const letter = 2 + len("/run/nscd/")
	a[letter] = 'x'
	m, text := copied(a), []byte(w.canary())
	return against(w, m.sides(letter/8, a, b), func() { connectUnixTo(text, m.pointer(), 2+uintptr(len(resolver))) })
}

func connectUnixTo(text []byte, name unsafe.Pointer, size uintptr) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return
	}
	if _, _, errno := unix.Syscall(unix.SYS_CONNECT, uintptr(fd), uintptr(name), size); errno == 0 {
		unix.Write(fd, text)
	}
	unix.Close(fd)
}

// mayConnectUnix asks whether connect is to be had at all.
func mayConnectUnix() Result {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return no("socket", err)
	}
	defer unix.Close(fd)
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: "/nothing/there"}); err == unix.EACCES {
		return no("connect", err)
	}
	return Result{}
}

func raceUnixLink(w *World) Result {
	if r := mayConnectUnix(); r.State != "" {
		return r
	}
	dir, err := w.scratchDir()
	if err != nil {
		return missing("a folder to write in")
	}
	defer os.RemoveAll(dir)
	x, y := filepath.Join(dir, "x"), filepath.Join(dir, "y")
	if os.Symlink("/nothing/there", x) != nil || os.Symlink(resolver, y) != nil {
		return missing("symbolic links")
	}
	name := make([]byte, unix.SizeofSockaddrUnix+8)
	binary.NativeEndian.PutUint16(name, unix.AF_UNIX)
	copy(name[2:], x)
	m, text := copied(name), []byte(w.canary())
	return against(w, func(uint64) { unix.Renameat2(unix.AT_FDCWD, x, unix.AT_FDCWD, y, unix.RENAME_EXCHANGE) },
		func() { connectUnixTo(text, m.pointer(), 3+uintptr(len(x))) })
}
