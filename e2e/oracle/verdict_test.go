package oracle

import (
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

const (
	// 10.77.0.2 → 10.77.0.1, up to the transport header; UDP, ICMP.
	v4UDP  = "4500002400000000 4011 0000 0a4d0002 0a4d0001"
	v4ICMP = "4500003800000000 4001 0000 0a4d0001 0a4d0002"
	// fd77::2 → ff02::16 with a router alert, as listener reports have: RFC 9777 §5.
	v6Report = "60000000 0024 00 01 fd770000000000000000000000000002 ff020000000000000000000000000016 3a00050200000100"
	v6ICMP   = "60000000 0020 3a ff fd770000000000000000000000000002 ff0200000000000000000001ff000001"

	ourUDP   = "ca6c ca6c 0010 0000"
	otherUDP = "ca6c 0035 0010 0000"
)

func TestVerdicts(t *testing.T) {
	o := &Oracle{endpoints: []netip.AddrPort{
		netip.MustParseAddrPort("10.77.0.1:51820"), netip.MustParseAddrPort("[fd77::1]:51820"),
	}}
	for _, c := range []struct {
		name     string
		proto    uint16
		packet   string
		innocent bool
	}{
		{"ARP for the endpoint", unix.ETH_P_ARP, "0001080006040001 020000000001 0a4d0002 000000000000 0a4d0001", true},
		{"ARP on another network", unix.ETH_P_ARP, "0001080006040001 020000000001 0a4d0002 000000000000 0a4e0001", false},
		{"a solicitation for the endpoint", unix.ETH_P_IPV6, v6ICMP + "8700000000000000 fd770000000000000000000000000001", true},
		{"a solicitation for another", unix.ETH_P_IPV6, v6ICMP + "8700000000000000 fd780000000000000000000000000001", false},
		{"port unreachable about the tunnel", unix.ETH_P_IP, v4ICMP + "0303000000000000" + v4UDP + ourUDP, true},
		{"port unreachable about a question", unix.ETH_P_IP, v4ICMP + "0303000000000000" + v4UDP + otherUDP, false},
		{"an echo request to the endpoint", unix.ETH_P_IP, v4ICMP + "0800000000000000", false},
		{"a report of solicited nodes", unix.ETH_P_IPV6, v6Report + "8f00000000000001 04000000 ff0200000000000000000001ff000002", true},
		{"a report of a program's group", unix.ETH_P_IPV6, v6Report + "8f00000000000001 04000000 ff050000000000000000000000001234", false},
		{"a report that hides a source", unix.ETH_P_IPV6, v6Report + "8f00000000000001 04000001 ff0200000000000000000001ff000002", false},
		{"a later fragment from the endpoint", unix.ETH_P_IP, "4500002400000010 4011 0000 0a4d0001 0a4d0002 0000", true},
		{"a later fragment from elsewhere", unix.ETH_P_IP, "4500002400000010 4011 0000 0a4e0001 0a4d0002 0000", false},
		{"UDP to another port of the endpoint", unix.ETH_P_IP, v4UDP + otherUDP, false},
		{"a packet that is cut off", unix.ETH_P_IP, "4500", false},
		{"nothing", unix.ETH_P_IPV6, "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := parse(c.proto, packetOf(t, c.packet))
			if got := o.isInnocent(p); got != c.innocent {
				t.Errorf("%v: innocent is %v, want %v", p, got, c.innocent)
			}
		})
	}
}

// A leak oracle that falls over lets everything pass.
func FuzzParseNeverPanics(f *testing.F) {
	f.Add(uint16(unix.ETH_P_IP), []byte{0x4f, 0, 0, 60})
	f.Add(uint16(unix.ETH_P_IPV6), make([]byte, 48))
	f.Add(uint16(unix.ETH_P_ARP), make([]byte, 28))
	o := &Oracle{endpoints: []netip.AddrPort{netip.MustParseAddrPort("10.77.0.1:51820")}}
	f.Fuzz(func(t *testing.T, proto uint16, b []byte) {
		p := parse(proto, b)
		_, _, _ = p.String(), p.question(), o.isInnocent(p)
	})
}

func packetOf(t *testing.T, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}
