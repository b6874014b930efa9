package launcher

import (
	"net/netip"
	"os"
	"slices"

	"adit/netstack"

	"golang.org/x/sys/unix"
)

// maxResolvers bounds the addresses that DNS is answered on: two descriptors
// each have to fit into one message to the engine.
const maxResolvers = 6

// resolverAddresses are where local resolvers are looked for: systemd-resolved's
// two, and every loopback nameserver of the host's resolv.conf, in case a copy of
// it is read. In the namespace nobody else answers there. To be called before
// /etc is furnished.
func resolverAddresses() []netip.Addr {
	list := []netip.Addr{netip.MustParseAddr("127.0.0.53"), netip.MustParseAddr("127.0.0.54")}
	servers, _ := netstack.HostNameservers()
	for _, s := range servers {
		if s.Addr().IsLoopback() {
			list = append(list, s.Addr())
		}
	}
	slices.SortFunc(list, netip.Addr.Compare)
	list = slices.Compact(list)
	return list[:min(len(list), maxResolvers)]
}

// loopbackSockets opens the sockets on which the engine answers DNS questions
// inside the namespace, UDP and TCP in turn for each address. What cannot be
// had is left out: it is a belt beside the braces of resolv.conf.
func loopbackSockets(resolvers []netip.Addr, r *stageReport) []int {
	var fds []int
	for _, a := range resolvers {
		for _, kind := range []int{unix.SOCK_DGRAM, unix.SOCK_STREAM} {
			fd, err := dnsSocket(a, kind)
			if err != nil {
				r.Notes = append(r.Notes, "no DNS socket on "+a.String()+": "+err.Error())
				break
			}
			fds = append(fds, fd)
			r.Sockets = append(r.Sockets, map[int]string{unix.SOCK_DGRAM: "udp ", unix.SOCK_STREAM: "tcp "}[kind]+a.String())
		}
	}
	return fds
}

func dnsSocket(a netip.Addr, kind int) (int, error) {
	if a.Is4() {
		return openBound(unix.AF_INET, kind, &unix.SockaddrInet4{Port: 53, Addr: a.As4()})
	}
	return openBound(unix.AF_INET6, kind, &unix.SockaddrInet6{Port: 53, Addr: a.As16()})
}

func openBound(family, kind int, sa unix.Sockaddr) (int, error) {
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	if err = os.NewSyscallError("bind", unix.Bind(fd, sa)); err == nil && kind == unix.SOCK_STREAM {
		err = os.NewSyscallError("listen", unix.Listen(fd, 128))
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}
