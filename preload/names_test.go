package preload

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A zone knows addresses of names.
type zone map[string]string

// lookup is a ServerConfig.Lookup.
func (z zone) lookup(ctx context.Context, network, host string) (out []netip.Addr, err error) {
	list, known := z[host]
	if list == "fails" {
		return nil, &net.DNSError{Err: "server misbehaving", Name: host, IsTemporary: true}
	}
	for _, a := range strings.Fields(list) {
		addr := netip.MustParseAddr(a)
		if network == "ip" || (network == "ip4") == addr.Is4() {
			out = append(out, addr)
		}
	}
	if !known || len(out) == 0 {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	return out, nil
}

func zoneServer(addresses ...string) *Server {
	s := &Server{cfg: ServerConfig{Lookup: zone{
		"both.test": "192.0.2.1 192.0.2.2 2001:db8::1", "four.test": "192.0.2.1", "six.test": "2001:db8::1",
		"local.test": "fd00::7 192.0.2.1", "broken.test": "fails",
	}.lookup}}
	for _, a := range addresses {
		s.cfg.Addresses = append(s.cfg.Addresses, netip.MustParseAddr(a))
	}
	return s
}

// told is an answer to getaddrinfo in words: the addresses, or the error.
func told(t *testing.T, a answer) string {
	t.Helper()
	if a.err != 0 {
		return fmt.Sprint(a.err)
	}
	_, rest, err := cutText(a.data)
	if err != nil || len(rest)%addressLen != 0 {
		t.Fatalf("%v: % x", err, a.data)
	}
	var words []string
	for ; len(rest) > 0; rest = rest[addressLen:] {
		at, ok := parseSockaddr(rest[16 : 16+binary.NativeEndian.Uint32(rest[12:])])
		if !ok {
			t.Fatalf("% x", rest[:addressLen])
		}
		words = append(words, at.Addr().String())
	}
	return strings.Join(words, " ")
}

func TestAddressesAreInTheOrderOfTheTunnel(t *testing.T) {
	dual, ula, four, six := []string{"10.0.0.2", "2001:db8::2"}, []string{"10.0.0.2", "fd00::2"}, []string{"10.0.0.2"}, []string{"2001:db8::2"}
	for _, tt := range []struct {
		own    []string
		name   string
		family int32
		flags  int32
		want   string
	}{
		{dual, "both.test", 0, 0, "2001:db8::1 192.0.2.1 192.0.2.2"},
		{ula, "both.test", 0, 0, "192.0.2.1 192.0.2.2 2001:db8::1"},
		{ula, "local.test", 0, 0, "fd00::7 192.0.2.1"},
		{four, "both.test", 0, 0, "192.0.2.1 192.0.2.2 2001:db8::1"},
		{four, "both.test", 0, aiAddrConfig, "192.0.2.1 192.0.2.2"},
		{six, "both.test", 0, 0, "2001:db8::1 192.0.2.1 192.0.2.2"},
		{six, "both.test", 0, aiAddrConfig, "2001:db8::1"},
		{six, "four.test", 0, aiAddrConfig, "-2"},
		{four, "six.test", unix.AF_INET6, aiAddrConfig, "-2"},
		{dual, "both.test", unix.AF_INET, 0, "192.0.2.1 192.0.2.2"},
		{dual, "both.test", unix.AF_INET6, 0, "2001:db8::1"},
		{dual, "four.test", unix.AF_INET6, 0, "-2"},
		{dual, "four.test", unix.AF_INET6, aiV4Mapped, "::ffff:192.0.2.1"},
		{dual, "both.test", unix.AF_INET6, aiV4Mapped, "2001:db8::1"},
		{dual, "both.test", unix.AF_INET6, aiV4Mapped | aiAll, "2001:db8::1 ::ffff:192.0.2.1 ::ffff:192.0.2.2"},
		{dual, "broken.test", 0, 0, "-3"},
		{dual, "nowhere.test", 0, 0, "-2"},
		{dual, "b\u00fccher.test", 0, aiIDN, "-105"},
	} {
		q := question{op: opAddrInfo, arg: [4]int32{tt.flags, tt.family, unix.SOCK_STREAM}}
		q.data = appendOptionalText(appendOptionalText(nil, &tt.name), nil)
		if got := told(t, zoneServer(tt.own...).addrInfo(context.Background(), q)); got != tt.want {
			t.Errorf("%s, family %d, flags %#x, with %v: got %s, want %s", tt.name, tt.family, tt.flags, tt.own, got, tt.want)
		}
	}
}

func TestManyAddressesAreAsManyAsFit(t *testing.T) {
	s := zoneServer("10.0.0.2")
	var list []string
	for i := range 1000 {
		list = append(list, fmt.Sprintf("192.0.%d.%d", i/250, i%250))
	}
	s.cfg.Lookup = zone{"many.test": strings.Join(list, " ")}.lookup
	name := "many.test"
	a := s.addrInfo(context.Background(), question{op: opAddrInfo, data: appendOptionalText(appendOptionalText(nil, &name), nil)})
	if n := len(strings.Fields(told(t, a))); len(a.data) > answerMax || n < 150 {
		t.Errorf("got %d addresses in %d bytes", n, len(a.data))
	}
	a = s.hostByName(context.Background(), question{op: opHostByName, arg: [4]int32{unix.AF_INET}, data: appendOptionalText(nil, &name)})
	if a.err != 0 || len(a.data) > answerMax || a.value < 50 {
		t.Errorf("gethostbyname: got %d addresses in %d bytes, error %d", a.value, len(a.data), a.err)
	}
}

func TestReverseNames(t *testing.T) {
	for addr, want := range map[string]string{
		"192.0.2.4":    "4.2.0.192.in-addr.arpa",
		"2001:db8::42": "2.4.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa",
	} {
		if got := reverseName(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s: got %s, want %s", addr, got, want)
		}
	}
}

// Whatever a program says, the answer is one that the shim has room for.
func FuzzNames(f *testing.F) {
	name, service := "both.test", "http"
	f.Add(uint32(opAddrInfo), int32(0), int32(0), int32(1), int32(0), appendOptionalText(appendOptionalText(nil, &name), &service))
	f.Add(uint32(opNameInfo), int32(0), int32(1), int32(1), int32(0), sockaddrOf(netip.MustParseAddr("fe80::1%1"), 53))
	f.Add(uint32(opHostByName), int32(2), int32(0), int32(0), int32(0), appendOptionalText(nil, &name))
	f.Add(uint32(opHostByAddress), int32(10), int32(0), int32(0), int32(0), make([]byte, 16))
	f.Add(uint32(opResSearch), int32(1), int32(1), int32(0), int32(512), appendOptionalText(nil, &name))
	s := zoneServer("10.0.0.2", "fd00::2")
	f.Fuzz(func(t *testing.T, op uint32, a, b, c, d int32, data []byte) {
		q, err := parseQuestion(question{operation(op), [4]int32{a, b, c, d}, data}.append(nil))
		if err != nil || q.op < opAddrInfo {
			return
		}
		answer, fd := s.handle(context.Background(), &request{question: q, end: -1, socket: -1})
		if fd >= 0 || len(answer.data) > answerMax {
			t.Errorf("descriptor %d, %d bytes", fd, len(answer.data))
		}
	})
}
