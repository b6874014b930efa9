package broker

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"syscall"
	"testing"

	"adit/netstack"
	"adit/netstack/stacktest"

	"golang.org/x/sys/unix"
)

func TestMessagesAreSplitIntoSegments(t *testing.T) {
	b, far := newDatagramBroker(t, nil)
	server := listenFar(t, far, at(far4, 7000))
	s := newTestSocket(t, b, unix.AF_INET)
	segment := appendCmsg(nil, unix.SOL_UDP, unix.UDP_SEGMENT, binary.NativeEndian.AppendUint16(nil, 4))
	send := func(control []byte, payload string, want syscall.Errno) {
		t.Helper()
		n, errno := s.Send(t.Context(), Message{To: s.name(at(far4, 7000)), Payload: []byte(payload), Control: control}, false)
		if errno != want || errno == ok && n != len(payload) {
			t.Fatalf("got %d, %v, want %d, %v", n, errno, len(payload), want)
		}
	}
	// Others are ignored: what would bind to an interface above all.
	tos := appendCmsg(nil, unix.SOL_IP, unix.IP_TOS, []byte{2, 0, 0, 0})
	pktinfo := appendCmsg(tos, unix.SOL_IP, unix.IP_PKTINFO, []byte{2, 0, 0, 0, 192, 0, 2, 1, 192, 0, 2, 1})
	send(append(pktinfo, segment...), "onesonesend", ok)
	for _, want := range []string{"ones", "ones", "end"} {
		server.want(want)
	}
	send(segment, "ones", ok)
	server.want("ones")
	send(segment, strings.Repeat("x", 4*128+1), unix.EINVAL) // more than UDP_MAX_SEGMENTS
	send(segment[:len(segment)-8], "?", unix.EINVAL)
	send(appendCmsg(nil, unix.SOL_UDP, unix.UDP_SEGMENT, []byte{1}), "?", unix.EINVAL)
	send(appendCmsg(nil, unix.SOL_UDP, unix.UDP_GRO, []byte{1, 0}), "?", unix.EINVAL)
	send(segment[:5], "short control is none", ok)
	server.want("short control is none")

	// The socket's own setting holds for what is sent natively too.
	if errno := s.SetOption(unix.SOL_UDP, unix.UDP_SEGMENT, binary.NativeEndian.AppendUint32(nil, 3)); errno != ok {
		t.Fatal(errno)
	}
	s.wantConnect(at(far4, 7000), ok)
	s.write("12312")
	server.want("123")
	server.want("12")
	send(nil, "1", ok)
	server.want("1")
}

func TestDestinationsAreReadAsTheKernelDoes(t *testing.T) {
	b, far := newDatagramBroker(t, nil)
	server := listenFar(t, far, at(far4, 7000))
	v4 := sockaddr(unix.AF_INET, at(far4, 7000))
	unspec := append([]byte{0, 0}, v4[2:]...)
	v6 := sockaddr(unix.AF_INET6, at(far6, 7000))
	unspec6 := append([]byte{0, 0}, v6[2:]...)
	inet, inet6 := unix.AF_INET, unix.AF_INET6
	for _, row := range []struct {
		name      string
		family    int
		connected bool
		to        []byte
		want      syscall.Errno
	}{
		{"nobody", inet, false, nil, unix.EDESTADDRREQ},
		{"nobody, IPv6", inet6, false, nil, unix.EDESTADDRREQ},
		{"the peer", inet, true, nil, ok},
		{"an address", inet, false, v4, ok},
		{"AF_UNSPEC is AF_INET", inet, false, unspec, ok},
		{"AF_UNSPEC is nobody for IPv6", inet6, false, unspec6, unix.EDESTADDRREQ},
		{"AF_UNSPEC is the peer for IPv6", inet6, true, unspec6, ok},
		{"IPv4's form on an IPv6 socket", inet6, false, v4, ok},
		{"mapped", inet6, false, sockaddr(inet6, at(far4, 7000)), ok},
		{"IPv6's form on an IPv4 socket", inet, false, v6, unix.EAFNOSUPPORT},
		{"another family", inet6, false, append([]byte{9, 0}, v6[2:]...), unix.EINVAL},
		{"short", inet, false, v4[:15], unix.EINVAL},
		{"short, IPv6", inet6, false, v6[:23], unix.EINVAL},
		{"one byte", inet, false, v4[:1], unix.EINVAL},
		{"one byte, IPv6", inet6, false, v4[:1], unix.EINVAL},
		{"port 0", inet, false, sockaddr(inet, at(far4, 0)), unix.EINVAL},
		{"not covered", inet, false, sockaddr(inet, addr("192.0.2.1:7000")), unix.ENETUNREACH},
		{"not covered, IPv6", inet6, false, sockaddr(inet6, addr("[2001:db8::1]:7000")), unix.ENETUNREACH},
		{"a group", inet, false, sockaddr(inet, addr("224.0.0.251:7000")), unix.ENETUNREACH},
		{"a group, IPv6", inet6, false, sockaddr(inet6, addr("[ff02::fb]:7000")), unix.ENETUNREACH},
		{"broadcast", inet, false, sockaddr(inet, addr("255.255.255.255:7000")), unix.ENETUNREACH},
		{"this host", inet, false, sockaddr(inet, addr("0.0.0.0:7000")), ok},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := newTestSocket(t, b, row.family)
			if row.connected {
				s.wantConnect(at(far4, 7000), ok)
			}
			n, errno := s.Send(t.Context(), Message{To: row.to, Payload: []byte(row.name)}, false)
			if errno != row.want {
				t.Fatalf("got %d, %v, want %v", n, errno, row.want)
			}
			if errno == ok && row.name != "this host" {
				server.want(row.name)
			}
		})
	}
}

func TestTooLongIsEMSGSIZE(t *testing.T) {
	b, _ := newDatagramBroker(t, nil)
	s, s6 := newTestSocket(t, b, unix.AF_INET), newTestSocket(t, b, unix.AF_INET6)
	long := strings.Repeat("x", 0x10000)
	s.sendTo(at(far4, 7000), long[:65507], ok)
	s.sendTo(at(far4, 7000), long[:65508], unix.EMSGSIZE)
	s.sendTo(addr("127.0.0.1:7000"), long[:65507], ok)
	s6.sendTo(addr("[::1]:7000"), long[:65527], ok)
	s6.sendTo(addr("[::1]:7000"), long[:65528], unix.EMSGSIZE)
	s6.sendTo(at(far4, 7000), long[:65508], unix.EMSGSIZE)
	s6.sendTo(at(far4, 7000), long, unix.EMSGSIZE)
	// Whoever looks for the path's MTU must not be told that everything fits.
	s.SetOption(unix.SOL_IP, unix.IP_MTU_DISCOVER, []byte{unix.IP_PMTUDISC_PROBE})
	s.sendTo(at(far4, 7000), long[:tunnelMTU-28], ok)
	s.sendTo(at(far4, 7000), long[:tunnelMTU-27], unix.EMSGSIZE)
	s6.SetOption(unix.SOL_IPV6, unix.IPV6_MTU_DISCOVER, []byte{unix.IPV6_PMTUDISC_DO, 0, 0, 0})
	s6.sendTo(at(far6, 7000), long[:tunnelMTU-48], ok)
	s6.sendTo(at(far6, 7000), long[:tunnelMTU-47], unix.EMSGSIZE)
}

// What was sent natively leaves before what a call sends, and to whom was the peer
// then.
func TestNativeDatagramsGoToThePeerOfTheirTime(t *testing.T) {
	b, far := newDatagramBroker(t, nil)
	one, two := listenFar(t, far, at(far4, 7001)), listenFar(t, far, at(far4, 7002))
	s := newTestSocket(t, b, unix.AF_INET)
	s.write("to nobody")
	for i := range 50 {
		s.wantConnect(at(far4, 7001), ok)
		s.write(fmt.Sprint("native ", i))
		s.sendTo(at(far4, 7001), fmt.Sprint("called ", i), ok)
		s.write(fmt.Sprint("last ", i))
		s.wantConnect(at(far4, 7002), ok)
		s.sendTo(at(far4, 7001), fmt.Sprint("across ", i), ok)
		s.write(fmt.Sprint("other ", i))
		for _, w := range []string{"native ", "called ", "last ", "across "} {
			one.want(fmt.Sprint(w, i))
		}
		two.want(fmt.Sprint("other ", i))
	}
}

// One program has no IPv6 in its tunnel, and knows.
func TestFamilyThatTheTunnelLacksIsUnreachable(t *testing.T) {
	only4 := stacktest.New(t, netstack.Config{}, "10.9.0.2/24")
	b, err := New(Config{Dialer: only4, Addresses: []netip.Addr{near4}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	s := newTestSocket(t, b, unix.AF_INET6)
	s.wantConnect(at(far6, 53), unix.ENETUNREACH)
	s.wantConnect(at(far6, 0), unix.ENETUNREACH)
	s.sendTo(at(far6, 53), "?", unix.ENETUNREACH)
	s.sendTo(at(far4, 53), "mapped", ok)
	s.wantConnect(at(far4, 53), ok)
	if got := s.local().Addr(); got != near4 {
		t.Errorf("getsockname: got %v, want %v", got, near4)
	}
	only := newTestSocket(t, b, unix.AF_INET6)
	only.SetOption(unix.SOL_IPV6, unix.IPV6_V6ONLY, []byte{1, 0, 0, 0})
	only.wantBind(addr("[::]:5000"), ok) // of loopback at least
	only.sendTo(at(far6, 53), "?", unix.ENETUNREACH)
	only.sendTo(at(far4, 53), "?", unix.ENETUNREACH)
	s = newTestSocket(t, b, unix.AF_INET6)
	s.sendTo(addr("[::1]:5000"), "here", ok)
	only.wantReceive(at(loopbackOf(near6), s.local().Port()), "here")
}
