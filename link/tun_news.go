package link

import (
	"encoding/binary"
	"fmt"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A linkNews tells of the interfaces of one network namespace.
type linkNews struct {
	f    *os.File // an rtnetlink socket of ours
	nsid int      // our name for the namespace; -1 for our own
}

// newsAtHome listens to the calling thread's namespace.
func newsAtHome() (*linkNews, error) {
	f, err := subscribe(unix.RTMGRP_LINK)
	return &linkNews{f, -1}, err
}

// newsFrom listens to another namespace from here: a socket over there would
// keep it alive, with all that is in it, for as long as somebody listens. It
// wants CAP_NET_ADMIN, for the namespace has to have a name here
// (ip-netns(8), set), and CAP_NET_BROADCAST (netlink(7), NETLINK_LISTEN_ALL_NSID).
func newsFrom(away *os.File) (*linkNews, error) {
	fd := int(away.Fd())
	nsid, err := netlink.GetNetNsIdByFd(fd)
	if err == nil && nsid < 0 {
		const any = -1
		if err = netlink.SetNetNsIdByFd(fd, any); err == nil {
			nsid, err = netlink.GetNetNsIdByFd(fd)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("name the namespace: %w", err)
	}
	f, err := subscribe(unix.RTMGRP_LINK)
	if err != nil {
		return nil, err
	}
	c, err := f.SyscallConn()
	if err == nil {
		cerr := c.Control(func(s uintptr) {
			err = unix.SetsockoptInt(int(s), unix.SOL_NETLINK, unix.NETLINK_LISTEN_ALL_NSID, 1)
			if err == nil { // to hear of its end
				err = unix.SetsockoptInt(int(s), unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, unix.RTNLGRP_NSID)
			}
		})
		if err == nil {
			err = cerr
		}
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("listen to other namespaces: %w", err)
	}
	return &linkNews{f, nsid}, nil
}

// read waits for a datagram about the namespace, or of the end of some other.
func (n *linkNews) read(buf []byte) ([]byte, error) {
	c, err := n.f.SyscallConn()
	if err != nil {
		return nil, err
	}
	oob := make([]byte, unix.CmsgSpace(4))
	for {
		var size, oobLen int
		rerr := c.Read(func(s uintptr) bool {
			size, oobLen, _, _, err = unix.Recvmsg(int(s), buf, oob, 0)
			return err != unix.EAGAIN
		})
		switch {
		case rerr != nil:
			return nil, rerr
		case err == unix.EINTR:
			continue
		case err != nil:
			return nil, os.NewSyscallError("recvmsg", err)
		case origin(oob[:oobLen]) == n.nsid, isEnd(buf[:size]):
			return buf[:size], nil
		}
	}
}

// isEnd reports whether b says that a namespace has lost its name here.
func isEnd(b []byte) bool {
	// nlmsghdr: length (4), type (2), …
	return len(b) >= unix.SizeofNlMsghdr && binary.NativeEndian.Uint16(b[4:]) == unix.RTM_DELNSID
}

// origin returns the namespace that a datagram tells of, -1 for our own.
func origin(oob []byte) int {
	msgs, _ := unix.ParseSocketControlMessage(oob)
	for _, m := range msgs {
		if m.Header.Level == unix.SOL_NETLINK && m.Header.Type == unix.NETLINK_LISTEN_ALL_NSID && len(m.Data) >= 4 {
			return int(int32(binary.NativeEndian.Uint32(m.Data)))
		}
	}
	return -1
}
