package hostile

import (
	"encoding/binary"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Names: asking the host, or somebody in its place.
var nameAttempts = category("names", usual(tunnel(), tunnel(), refused(unix.EACCES)),
	&Attempt{Name: "dns-configured", Does: "the nameserver of resolv.conf", Control: Everybody,
		Expect: byRaw(own(unix.ECONNREFUSED)), try: tryConfigured},
	&Attempt{Name: "dns-host-udp", Does: "the host's nameserver by UDP", Control: Everybody, try: tryHostDNS},
	&Attempt{Name: "dns-host-tcp", Does: "the host's nameserver by TCP", Control: Everybody, try: tryHostDNSTCP},
	&Attempt{Name: "dns-stub", Does: "127.0.0.53, where systemd-resolved listens", Control: Everybody,
		Expect: byRaw(own(unix.ECONNREFUSED)), try: tryStub},
	&Attempt{Name: "dns-key", Does: "the kernel asks, for a key (request_key of type dns_resolver)",
		Expect: inEach(refused(unix.ENOKEY)), try: tryKey},
	&Attempt{Name: "nscd", Does: "nscd's socket", Control: Everybody, Expect: hidden,
		try: unixDoor("/run/nscd/socket", "/var/run/nscd/socket", "/run/nsncd/socket")},
	&Attempt{Name: "resolved", Does: "systemd-resolved's socket (varlink)", Control: Everybody, Expect: hidden,
		try: unixDoor("/run/systemd/resolve/io.systemd.Resolve")},
	&Attempt{Name: "resolved-monitor", Does: "systemd-resolved's other socket", Expect: hidden,
		try: unixDoor("/run/systemd/resolve/io.systemd.Resolve.Monitor")},
	&Attempt{Name: "avahi", Does: "avahi's socket", Control: Everybody, Expect: hidden,
		try: unixDoor("/run/avahi-daemon/socket", "/var/run/avahi-daemon/socket")},
	&Attempt{Name: "directory-daemon", Does: "sssd and winbind, who know users and can be asked for hosts", Control: Everybody,
		Expect: byRaw(open(unix.ENOENT, unix.EACCES, unix.ECONNREFUSED)),
		try:    unixDoor("/run/samba/winbindd/pipe", "/var/lib/sss/pipes/nss")},
	&Attempt{Name: "resolver-by-root", Does: "the same by /proc/self/root and /proc/thread-self/cwd", Control: Everybody, Expect: hidden,
		try: tryRoundabout},
)

// hidden is what to expect of a socket that is covered.
var hidden = inEach(refused(unix.ENOENT, unix.EACCES, unix.ECONNREFUSED))

// query returns a DNS question for the address of name, which ends in a dot
// (RFC 1035 §4.1).
func query(name string) []byte {
	b := []byte{0x4d, 0x2a, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0}
	for label := range strings.SplitSeq(strings.TrimSuffix(name, "."), ".") {
		b = append(append(b, byte(len(label))), label...)
	}
	return append(b, 0, 0, 1, 0, 1)
}

// ask asks a nameserver by UDP. An answer from the command's own loopback is
// adit's.
func ask(w *World, server netip.Addr) Result {
	v6 := server.Is6()
	fd, err := unix.Socket(family(v6), unix.SOCK_DGRAM, 0)
	if err != nil {
		return noSuch("socket", err)
	}
	at := netip.AddrPortFrom(server, 53)
	if err := unix.Connect(fd, to(at, v6)); err != nil {
		return no("connect", err)
	}
	if _, err := unix.Write(fd, query(w.question())); err != nil {
		return no("send", err)
	}
	if !ready(fd, unix.POLLIN) {
		return sent()
	}
	if _, err := unix.Read(fd, make([]byte, 512)); err != nil {
		return no("receive", err)
	}
	return sent()
}

func tryConfigured(w *World) Result {
	b, err := os.ReadFile("/etc/resolv.conf")
	if err != nil {
		return noSuch("open /etc/resolv.conf", err, unix.ENOENT)
	}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) < 2 || f[0] != "nameserver" {
			continue
		}
		if a, err := netip.ParseAddr(f[1]); err == nil {
			return ask(w, a)
		}
	}
	return missing("a nameserver in resolv.conf")
}

func tryHostDNS(w *World) Result {
	if !w.Nameserver.IsValid() {
		return missing("a nameserver of the host's")
	}
	return ask(w, w.Nameserver)
}

func tryHostDNSTCP(w *World) Result {
	if !w.Nameserver.IsValid() {
		return missing("a nameserver of the host's")
	}
	fd, err := unix.Socket(family(w.Nameserver.Is6()), unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return noSuch("socket", err)
	}
	err = unix.Connect(fd, to(netip.AddrPortFrom(w.Nameserver, 53), w.Nameserver.Is6()))
	if err != nil && err != unix.EINPROGRESS {
		return no("connect", err)
	}
	ready(fd, unix.POLLOUT)
	q := query(w.question())
	unix.Write(fd, append(binary.BigEndian.AppendUint16(nil, uint16(len(q))), q...))
	ready(fd, unix.POLLIN)
	return sent()
}

func tryStub(w *World) Result {
	ask(w, netip.IPv6Loopback())
	return ask(w, netip.AddrFrom4([4]byte{127, 0, 0, 53}))
}

// unixDoor connects to a socket of the file system and writes a canary.
func unixDoor(paths ...string) func(*World) Result {
	return func(w *World) Result { return connectUnix(w, paths...) }
}

func connectUnix(w *World, paths ...string) Result {
	var r Result
	for _, path := range paths {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return no("socket", err)
		}
		err = unix.Connect(fd, &unix.SockaddrUnix{Name: path})
		if err == nil {
			say(w, fd)
			return got("connect " + path)
		}
		unix.Close(fd)
		r = no("connect "+path, err)
	}
	return r
}

func tryRoundabout(w *World) Result {
	return connectUnix(w, "/proc/self/root/run/nscd/socket", "/proc/thread-self/root/var/run/nscd/socket",
		"/proc/self/cwd/run/nscd/socket", "/proc/self/task/"+strconv.Itoa(os.Getpid())+"/root/run/nscd/socket")
}

// tryKey asks for a key of the type by which the kernel's file systems resolve
// names: a helper of the host's would be started (request-key(8)).
func tryKey(w *World) Result {
	kind, name, callout := append([]byte("dns_resolver"), 0), append([]byte(w.question()), 0), []byte{0}
	_, _, errno := unix.Syscall6(unix.SYS_REQUEST_KEY, uintptr(unsafe.Pointer(&kind[0])),
		uintptr(unsafe.Pointer(&name[0])), uintptr(unsafe.Pointer(&callout[0])), 0, 0, 0)
	switch {
	case errno == 0:
		return got("request_key")
	case errno == unix.ENOSYS:
		return missing("request_key")
	}
	return no("request_key", errno)
}
