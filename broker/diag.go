package broker

import (
	"encoding/binary"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// A diag asks the kernel which TCP socket has a connection, sock_diag(7). The zero
// diag asks proc(5) instead, which takes longer: not every kernel has the other.
type diag struct {
	mu sync.Mutex // held from a question to its answer
	fd int
}

// open makes the netlink socket, if there can be one.
func (d *diag) open() {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_INET_DIAG)
	if err != nil {
		return
	}
	d.fd = fd
}

func (d *diag) close() {
	if d.fd > 0 {
		unix.Close(d.fd)
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
// remote, addresses of IPv4, is the one with the identity.
func (d *diag) is(local, remote netip.AddrPort, who identity) bool {
	if cookie, known := d.ask(local, remote); known && who.cookie != 0 {
		return cookie == who.cookie
	}
	return procInode(local, remote) == who.ino
}

const (
	diagReqLen   = unix.SizeofNlMsghdr + 56 // struct inet_diag_req_v2
	diagMsgLen   = unix.SizeofNlMsghdr + 72 // struct inet_diag_msg
	diagCookieAt = unix.SizeofNlMsghdr + 44 // of the message
	diagByFamily = 20                       // SOCK_DIAG_BY_FAMILY of linux/sock_diag.h
)

// ask returns the cookie of the socket that sock_diag finds. Where it finds nothing,
// nothing is known: the kernel says the same when it has no such table.
func (d *diag) ask(local, remote netip.AddrPort) (cookie uint64, known bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fd <= 0 {
		return 0, false
	}
	var req [diagReqLen]byte
	native := binary.NativeEndian
	native.PutUint32(req[0:], diagReqLen)
	native.PutUint16(req[4:], diagByFamily)
	native.PutUint16(req[6:], unix.NLM_F_REQUEST)
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
		return 0, false
	}
	var answer [1024]byte
	n, _, err := unix.Recvfrom(d.fd, answer[:], 0)
	for err == unix.EINTR {
		n, _, err = unix.Recvfrom(d.fd, answer[:], 0)
	}
	if err != nil || n < diagMsgLen || native.Uint16(answer[4:]) != diagByFamily {
		return 0, false
	}
	low, high := native.Uint32(answer[diagCookieAt:]), native.Uint32(answer[diagCookieAt+4:])
	return uint64(high)<<32 | uint64(low), true
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
