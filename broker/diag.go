package broker

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// A diag asks the kernel which TCP socket has a connection: by sock_diag(7) or, where
// that does not work, by proc(5), which takes longer.
type diag struct {
	mu  sync.Mutex // held from a question to its answer
	fd  int        // 0: there is no sock_diag
	seq uint32     // of the last question
}

// open tries both with a socket that is connected from local to remote.
func (d *diag) open(fd int, local, remote netip.AddrPort) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return os.NewSyscallError("fstat", err)
	}
	who := identityOf(st.Ino, fd)
	netlink, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_INET_DIAG)
	if err == nil {
		d.fd = netlink
		if who.cookie != 0 && d.is(local, remote, who) {
			return nil
		}
		d.close()
	}
	if !d.is(local, remote, who) {
		return errors.New("neither sock_diag nor /proc/net/tcp tells whose a socket is")
	}
	return nil
}

func (d *diag) close() {
	if d.fd > 0 {
		unix.Close(d.fd)
		d.fd = 0
	}
}

// An identity is by what a socket is known. The cookie is never another's, and stays
// when the program has closed the socket and what it has written is still to be sent.
type identity struct {
	ino, cookie uint64
}

// identityOf returns that of a socket with the inode.
func identityOf(ino uint64, fd int) identity {
	cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE)
	if err != nil {
		cookie = 0 // since Linux 4.12
	}
	return identity{ino, cookie}
}

// is reports whether the socket on lo that is connected, or connecting, from local to
// remote, addresses of IPv4, is the one with the identity. By proc(5) none is that the
// program has closed.
func (d *diag) is(local, remote netip.AddrPort, who identity) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fd > 0 {
		cookie := d.ask(local, remote)
		return cookie != 0 && cookie == who.cookie
	}
	return procInode(local, remote) == who.ino
}

const (
	diagReqLen   = unix.SizeofNlMsghdr + 56 // struct inet_diag_req_v2
	diagMsgLen   = unix.SizeofNlMsghdr + 72 // struct inet_diag_msg
	diagCookieAt = unix.SizeofNlMsghdr + 44 // of the message
	diagByFamily = 20                       // SOCK_DIAG_BY_FAMILY of linux/sock_diag.h
)

// ask returns the cookie of the socket that sock_diag finds, 0 if there is none. d.mu
// must be held.
func (d *diag) ask(local, remote netip.AddrPort) (cookie uint64) {
	d.seq++
	var req [diagReqLen]byte
	native := binary.NativeEndian
	native.PutUint32(req[0:], diagReqLen)
	native.PutUint16(req[4:], diagByFamily)
	native.PutUint16(req[6:], unix.NLM_F_REQUEST)
	native.PutUint32(req[8:], d.seq)
	r := req[unix.SizeofNlMsghdr:]
	r[0], r[1] = unix.AF_INET, unix.IPPROTO_TCP
	native.PutUint32(r[4:], ^uint32(0)) // in every state
	binary.BigEndian.PutUint16(r[8:], local.Port())
	binary.BigEndian.PutUint16(r[10:], remote.Port())
	src, dst := local.Addr().As4(), remote.Addr().As4()
	copy(r[12:], src[:])
	copy(r[28:], dst[:])
	native.PutUint32(r[44:], loIndex)
	native.PutUint64(r[48:], ^uint64(0)) // whatever its cookie
	if err := unix.Sendto(d.fd, req[:], 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return 0
	}
	// The answer is there when the question has been sent: netlink(7).
	for {
		var answer [1024]byte
		n, _, err := unix.Recvfrom(d.fd, answer[:], 0)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return 0
		case n < unix.SizeofNlMsghdr || native.Uint32(answer[8:]) != d.seq:
		case n < diagMsgLen || native.Uint16(answer[4:]) != diagByFamily:
			return 0 // an error: ENOENT
		default:
			low, high := native.Uint32(answer[diagCookieAt:]), native.Uint32(answer[diagCookieAt+4:])
			return uint64(high)<<32 | uint64(low)
		}
	}
}

// procInode returns the inode of that socket by the tables of proc(5), 0 of one that no
// program has.
func procInode(local, remote netip.AddrPort) uint64 {
	for _, table := range procTables {
		text, err := os.ReadFile(table.file)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			f := strings.Fields(line) // see parseProcNet
			if len(f) < 10 {
				continue
			}
			at, isAt := parseHexAddr(f[1])
			far, isFar := parseHexAddr(f[2])
			if ino, err := strconv.ParseUint(f[9], 10, 64); err == nil && isAt && isFar && at == local && far == remote {
				return ino
			}
		}
	}
	return 0
}
