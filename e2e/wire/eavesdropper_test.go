package wire

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"adit/e2e/lab"
	"adit/e2e/suite"
	"adit/e2e/tap"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A listening is what an eavesdropper has heard of one session: everything that
// was on the cable, from before adit began to after a program that it left
// behind had ended.
type listening struct {
	*testing.T
	packets  []tap.Packet
	endpoint netip.AddrPort
	mtu      int // of the tunnel
}

func TestEavesdropperLearnsWhatWireGuardPromises(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		endpoint netip.AddrPort
		mtu      int
	}{
		{"by IPv4", endpointV4, 1420},
		{"by IPv6", endpointV6, 1408},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := listenToRun(t, c.endpoint, c.mtu)
			h.allOfItIsWireGuardToTheEndpoint()
			h.dataIsPaddedToMultiplesOfSixteen()
			h.nothingIsInClear()
			h.outerHeadersShowCongestionAndNothingElse()
			h.keepalivesAreEmpty()
			h.countersCountUpFromZero()
		})
	}
}

// The same of adit device, which has other ways to its packets and datagrams, and
// says nothing before there is something to say.
func TestEavesdropperOfADeviceLearnsNoMore(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.wireguardServer(t)
	ear := w.listen(t)
	w.aditDeviceClient(t, endpointV6)
	for _, a := range []netip.Addr{lab.ServiceV4, lab.ServiceV6} {
		p := w.start(t, w.Client, probe, "mix", a.String(), a.String())
		if got := p.Line(suite.Deadline); got != "mixed" {
			t.Fatalf("the probe said %q", got)
		}
		p.WantEnd(suite.Deadline)
	}
	h := &listening{t, stop(t, ear), endpointV6, 1420}
	h.allOfItIsWireGuardToTheEndpoint()
	h.dataIsPaddedToMultiplesOfSixteen()
	h.nothingIsInClear()
	h.outerHeadersShowCongestionAndNothingElse()
	h.countersCountUpFromZero()
}

// listenToRun listens while adit run's command sends some of everything, inside
// by both families, and leaves a program behind that goes on sending.
func listenToRun(t *testing.T, endpoint netip.AddrPort, mtu int) *listening {
	t.Helper()
	w := newWorld(t)
	w.wireguardServer(t)
	if err := w.Server.Do(func() error { return lab.SetMTU("wg0", mtu) }); err != nil {
		t.Fatal(err)
	}
	ear := w.listen(t)
	const script = `"$0" mix "$1" "$1" && "$0" mix "$2" "$2" && { timeout 2 "$0" pace "$3" 20ms 1s >/dev/null 2>&1 </dev/null & }`
	conf := w.conf(t, endpoint, fmt.Sprintf("MTU = %d", mtu))
	p := w.run(t, conf, "sh", "-c", script, probe, lab.ServiceV4.String(), lab.ServiceV6.String(),
		netip.AddrPortFrom(lab.ServiceV4, 7).String())
	for range 2 {
		if got := p.Line(suite.Deadline); got != "mixed" {
			t.Fatalf("the probe said %q", got)
		}
	}
	p.WantEnd(suite.Deadline)
	left := untilEnded(t, "timeout 2 ")
	t.Logf("a program that was left behind went on for %v", left.Round(time.Millisecond))
	return &listening{t, withoutFarewell(stop(t, ear), endpoint), endpoint, mtu}
}

// withoutFarewell leaves out what the client's kernel says when the server still
// sends after adit has closed its socket.
func withoutFarewell(packets []tap.Packet, endpoint netip.AddrPort) (rest []tap.Packet) {
	var from netip.AddrPort
	for _, p := range packets {
		_, ok := p.Message()
		if ok && p.Out {
			from = p.Src
		}
		if about, ok := p.Unreachable(); ok && p.Out && about.Src == endpoint && about.Dst == from {
			continue
		}
		rest = append(rest, p)
	}
	return rest
}

// untilEnded waits until no process has words in its command, and returns for
// how long there was one.
func untilEnded(t *testing.T, words string) time.Duration {
	t.Helper()
	begin := time.Now()
	for ; time.Since(begin) < suite.Deadline; time.Sleep(20 * time.Millisecond) {
		if !slices.ContainsFunc(lab.Descendants(unix.Getpid()), func(p lab.Process) bool {
			return p.State != 'Z' && strings.Contains(p.Command, words)
		}) {
			return time.Since(begin)
		}
	}
	t.Fatalf("%q has not ended within %v", words, suite.Deadline)
	return 0
}

func (h *listening) allOfItIsWireGuardToTheEndpoint() {
	h.Helper()
	var from netip.AddrPort
	for _, p := range h.packets {
		near, far := p.Src, p.Dst
		if !p.Out {
			near, far = far, near
		}
		if !from.IsValid() {
			from = near
		}
		if _, ok := p.Message(); !ok || p.Fragment || far != h.endpoint || near != from {
			h.Errorf("%v: want nothing but WireGuard's messages between %v and %v", p, from, h.endpoint)
		}
	}
	if len(h.packets) < 1000 {
		h.Errorf("only %d packets were heard", len(h.packets))
	}
}

// §5.4.6: the packet is padded with zeros "so that its length is a multiple of
// 16 bytes". Linux does not pad beyond the MTU (send.c, calculate_skb_padding):
// then a packet that fills the MTU is as long as that.
func (h *listening) dataIsPaddedToMultiplesOfSixteen() {
	h.Helper()
	full, lengths := 0, map[int]bool{}
	for _, p := range h.packets {
		m, ok := p.Message()
		if !ok || m.Type != tap.Data {
			continue
		}
		n := m.Len - tap.KeepaliveLen
		lengths[n] = true
		switch {
		case n > h.mtu:
			h.Errorf("%v: longer than the MTU of %d", p, h.mtu)
		case n == h.mtu:
			full++
		case n%16 != 0:
			h.Errorf("%v: %d bytes of packet, want a multiple of 16", p, n)
		}
	}
	h.Logf("%d messages of %d lengths, %d as long as the MTU of %d", len(h.packets), len(lengths), full, h.mtu)
	if full == 0 || len(lengths) < 20 {
		h.Errorf("got %d lengths, and %d messages that fill the MTU: too little was sent for this test", len(lengths), full)
	}
}

// clearText is what mix sends, and the addresses and names of the tunnel as
// they are in packets.
func clearText() map[string]string {
	pair := func(a, b netip.Addr) string { return string(a.AsSlice()) + string(b.AsSlice()) }
	return map[string]string{
		"payload of TCP":           "a secret that goes by TCP ",
		"payload of UDP":           "a secret that goes by UDP ",
		"a name":                   "\x06secret\x04test\x00", // RFC 1035 §3.1
		"inner addresses, IPv4":    pair(clientV4.Addr(), lab.ServiceV4),
		"inner addresses, IPv6":    pair(clientV6.Addr(), lab.ServiceV6),
		"inner addresses, back, 4": pair(lab.ServiceV4, clientV4.Addr()),
		"inner addresses, back, 6": pair(lab.ServiceV6, clientV6.Addr()),
	}
}

// found returns which of clearText is in the packets.
func found(packets []tap.Packet) map[string]bool {
	seen := map[string]bool{}
	for _, p := range packets {
		for what, text := range clearText() {
			if strings.Contains(string(p.Raw), text) {
				seen[what] = true
			}
		}
	}
	return seen
}

func (h *listening) nothingIsInClear() {
	h.Helper()
	for what := range found(h.packets) {
		h.Errorf("%s is in clear on the cable", what)
	}
}

// RFC 2983 §6 and Linux: of the traffic class of packets in the tunnel only the
// ECN bits show (RFC 6040 §4.1). Handshakes may be marked AF41, as Linux does
// (socket.h, HANDSHAKE_DSCP).
func (h *listening) outerHeadersShowCongestionAndNothingElse() {
	h.Helper()
	const af41 = 0x88
	type outer struct {
		ttl   uint8
		label uint32
	}
	first, ecn := map[bool]outer{}, map[uint8]int{}
	for _, p := range h.packets {
		m, _ := p.Message()
		switch {
		case m.Type == tap.Data && p.DSCP() != 0:
			h.Errorf("%v: traffic class %#02x, want no DSCP", p, p.TOS)
		case m.Type != tap.Data && p.TOS != 0 && p.TOS != af41:
			h.Errorf("%v: traffic class %#02x, want none or AF41", p, p.TOS)
		}
		if p.Out && m.Type == tap.Data {
			ecn[p.ECN()]++
		}
		o := outer{p.TTL, p.FlowLabel}
		if was, ok := first[p.Out]; !ok {
			first[p.Out] = o
		} else if was != o {
			h.Errorf("%v: TTL and flow label %v, were %v", p, o, was)
		}
	}
	h.Logf("data sent by ECN bits: %v; TTL and flow label: %v", ecn, first)
	if ecn[0] == 0 || ecn[1] == 0 || ecn[2] == 0 {
		h.Errorf("data sent by ECN bits: %v, want some of 0, 1 and 2: that is what was sent inside", ecn)
	}
}

// The one that confirms the session, before the command has sent anything
// (§6.5, §5.4.6).
func (h *listening) keepalivesAreEmpty() {
	h.Helper()
	for _, p := range h.packets {
		if m, ok := p.Message(); ok && m.Type == tap.Data && p.Out {
			if m.Len != tap.KeepaliveLen || m.Counter != 0 {
				h.Errorf("the first of the data is %v, want a keepalive of %d bytes", p, tap.KeepaliveLen)
			}
			return
		}
	}
	h.Error("no data")
}

func (h *listening) countersCountUpFromZero() {
	h.Helper()
	sessions, err := tap.Sessions(h.packets)
	if err != nil {
		h.Error(err)
	}
	if len(sessions) != 1 {
		h.Errorf("got %d sessions, want 1", len(sessions))
	}
	for _, s := range sessions {
		if gap := s.Out.Gaps(); gap != "" {
			h.Errorf("sent: %s", gap)
		}
		if gap := s.In.Gaps(); gap != "" {
			h.Errorf("received: %s", gap)
		}
	}
}

// The eavesdropper is not deaf: without adit it finds all that is to be found.
func TestEavesdropperHearsAProgramWithoutAdit(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ear := w.listen(t)
	if err := w.Client.Do(func() error { return speakAs(clientV4, clientV6) }); err != nil {
		t.Fatal(err)
	}
	if err := w.Server.Do(func() error { return routeBack(clientV4, clientV6) }); err != nil {
		t.Fatal(err)
	}
	for _, a := range []netip.Addr{lab.ServiceV4, lab.ServiceV6} {
		p := w.start(t, w.Client, probe, "mix", a.String(), a.String())
		if got := p.Line(suite.Deadline); got != "mixed" {
			t.Fatalf("the probe said %q", got)
		}
		p.WantEnd(suite.Deadline)
	}
	packets := stop(t, ear)
	got := found(packets)
	for what := range clearText() {
		if !got[what] {
			t.Errorf("%s was not found, and it is there", what)
		}
	}
	dscp := map[uint8]bool{}
	for _, p := range packets {
		dscp[p.DSCP()] = true
	}
	if !dscp[0xb8] || !dscp[0x20] || len(dscp) < 8 {
		t.Errorf("got DSCPs %v, want all that mix sends", dscp)
	}
}

// speakAs gives the client the tunnel's addresses on the cable, and has it use
// them.
func speakAs(addrs ...netip.Prefix) error {
	if err := lab.BringUp("lo", addrs, nil); err != nil {
		return err
	}
	for i, via := range []netip.Addr{lab.ServerV4.Addr(), lab.ServerV6.Addr()} {
		if err := route("eth0", netip.PrefixFrom([]netip.Addr{lab.ServiceV4, lab.ServiceV6}[i], via.BitLen()), via, addrs[i].Addr()); err != nil {
			return err
		}
	}
	return nil
}

// routeBack has the server answer those addresses by the cable.
func routeBack(addrs ...netip.Prefix) error {
	for i, via := range []netip.Addr{lab.HostV4.Addr(), lab.HostV6.Addr()} {
		if err := route("eth0", addrs[i], via, netip.Addr{}); err != nil {
			return err
		}
	}
	return nil
}

func route(name string, dst netip.Prefix, via, src netip.Addr) error {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	return netlink.RouteReplace(&netlink.Route{LinkIndex: l.Attrs().Index, Gw: via.AsSlice(), Src: src.AsSlice(),
		Dst: &net.IPNet{IP: dst.Addr().AsSlice(), Mask: net.CIDRMask(dst.Bits(), dst.Addr().BitLen())}})
}
