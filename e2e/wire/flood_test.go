package wire

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"adit/e2e/flood"
	"adit/e2e/lab"
	"adit/e2e/suite"
	"adit/e2e/tap"
)

// An attack is who floods and by which address of the responder.
type attack struct {
	name     string
	from     []netip.AddrPort
	endpoint netip.AddrPort
}

func attacks() []attack {
	return []attack{
		{"one address with many ports", flood.Ports(lab.HostV4.Addr(), 250), endpointV4},
		{"a whole network", flood.Addresses(lab.CrowdV4, 200), endpointV4},
		{"one IPv6 network of a customer", flood.Addresses(lab.CrowdV6, 250), endpointV6},
	}
}

// floodRate is in datagrams a second: several times what makes either engine ask
// for cookies (ours: a thousand handshakes a second; wireguard-go: 128 at once),
// and a small part of what one core can send.
const floodRate = 6000

// inWithin is how long an honest peer may take to get in while the responder is
// flooded: Rekey-Timeout and its jitter, after which the cookie is used (§6.6),
// and what is left of a second for everything else.
const inWithin = 6 * time.Second

// A running is a flood at work.
type running struct {
	*flood.Source
	cancel context.CancelFunc
	sent   chan int
}

// flood starts a flood on a machine; it ends with the test at the latest.
func (w *world) flood(t *testing.T, on *lab.Namespace, f flood.Flood) *running {
	t.Helper()
	var s *flood.Source
	if err := on.Do(func() (err error) {
		s, err = flood.Open(f)
		return err
	}); err != nil {
		t.Fatalf("flood: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{s, cancel, make(chan int, 1)}
	go func() { r.sent <- s.Run(ctx) }()
	t.Cleanup(func() { r.end() })
	return r
}

// end ends the flood and returns how many datagrams were sent.
func (r *running) end() int {
	r.cancel()
	n := <-r.sent
	r.sent <- n
	return n
}

// untilCookies waits until the responder has asked for cookies.
func untilCookies(t *testing.T, ear *tap.Tap) {
	t.Helper()
	for end, seen := time.Now().Add(suite.Deadline), 0; time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		packets := ear.Packets()
		for _, p := range packets[seen:] {
			if m, ok := p.Message(); ok && m.Type == tap.Cookie {
				return
			}
		}
		seen = len(packets)
	}
	t.Fatalf("no cookie within %v: the flood is no flood", suite.Deadline)
}

// honest returns the messages of all but the flood's sockets.
func honest(packets []tap.Packet, r *running) []tap.Packet {
	bad := r.Sources()
	return slices.DeleteFunc(slices.Clone(packets), func(p tap.Packet) bool { return bad[p.Src] || bad[p.Dst] })
}

// askedAtOnce reports whether an honest client's first message was answered by a
// cookie. wireguard-go lets some in without one, whenever fewer than 128 wait,
// which may be for a moment once a second, and drops some, when a thousand do.
func askedAtOnce(packets []tap.Packet) bool {
	began := false
	for _, p := range packets {
		m, ok := p.Message()
		switch {
		case ok && began && m.Type != tap.Data:
			return m.Type == tap.Cookie
		case ok && m.Type == tap.Initiation:
			began = true
		}
	}
	return false
}

// wantIn looks at what an honest client went through: asked for a cookie, and in
// within six seconds by means of it.
func wantIn(t *testing.T, packets []tap.Packet) {
	t.Helper()
	var first, cookie, in time.Time
	var trail []string
	withCookie := false
	for _, p := range packets {
		m, ok := p.Message()
		if !ok || !in.IsZero() {
			continue
		}
		if m.Type != tap.Data {
			trail = append(trail, p.String())
		}
		switch {
		case m.Type == tap.Initiation && first.IsZero():
			first = p.At
			if m.HasMAC2() {
				t.Errorf("%v: before there was a cookie", p)
			}
		case m.Type == tap.Initiation && m.HasMAC2():
			withCookie = true
		case m.Type == tap.Cookie && cookie.IsZero():
			cookie = p.At
		case m.Type == tap.Response:
			in = p.At
		}
	}
	switch {
	case in.IsZero():
		t.Errorf("the honest peer did not get in:\n%s", strings.Join(trail, "\n"))
	case cookie.IsZero() || !withCookie:
		t.Errorf("the honest peer got in without a cookie:\n%s", strings.Join(trail, "\n"))
	case in.Sub(first) > inWithin:
		t.Errorf("the honest peer got in after %v, want at most %v:\n%s", in.Sub(first), inWithin, strings.Join(trail, "\n"))
	default:
		t.Logf("cookie after %v, in after %v", cookie.Sub(first).Round(time.Microsecond), in.Sub(first).Round(time.Millisecond))
	}
}

// wantModest looks at the answers to the flood: at most one to a message, a
// cookie, and smaller than what it answers (§5.3: no amplification).
func wantModest(t *testing.T, packets []tap.Packet, r *running) {
	t.Helper()
	type handle struct {
		who   netip.AddrPort
		index uint32
	}
	bad := r.Sources()
	asked, sizes := map[handle]int{}, map[handle]int{}
	var sent, answered, bytesOut, bytesIn int
	for _, p := range packets {
		m, ok := p.Message()
		switch {
		case bad[p.Src]:
			sent++
			bytesOut += len(p.Payload)
			if ok {
				h := handle{p.Src, m.Sender}
				asked[h]++
				sizes[h] = m.Len
			}
		case bad[p.Dst]:
			answered++
			bytesIn += len(p.Payload)
			h := handle{p.Dst, m.Receiver}
			if asked[h]--; asked[h] < 0 {
				t.Fatalf("%v: answers nothing, or a second time", p)
			}
			if !ok || m.Type != tap.Cookie || m.Len > sizes[h] {
				t.Fatalf("%v: in answer to %d bytes, want a cookie or silence", p, sizes[h])
			}
		}
	}
	t.Logf("%d flood messages were answered by %d cookies, %d bytes by %d", sent, answered, bytesOut, bytesIn)
	if sent == 0 || answered == 0 {
		t.Errorf("got %d flood messages and %d cookies, want both", sent, answered)
	}
}

func TestClientGetsIntoAFloodedWireguardGo(t *testing.T) {
	w := newWorld(t)
	for _, a := range attacks() {
		t.Run(a.name, func(t *testing.T) {
			w.wireguardServer(t) // anew: see renewPeer of package e2e about IPv6
			ear := w.listen(t)
			f := w.flood(t, w.Client, flood.Flood{To: a.endpoint, From: a.from,
				Message: flood.Initiations(w.server.Public), Rate: floodRate, For: 60 * time.Second})
			untilCookies(t, ear)
			conf := w.conf(t, a.endpoint, "")
			var packets []tap.Packet
			for try := 0; try < 4 && !askedAtOnce(packets); try++ {
				before := len(ear.Packets())
				p := w.run(t, conf, probe, "tcp", netip.AddrPortFrom(lab.ServiceV4, 7).String())
				if got := p.Line(suite.Deadline); got != "hello" {
					t.Errorf("got %q through the tunnel, want hello", got)
				}
				p.WantEnd(suite.Deadline)
				packets = honest(ear.Packets()[before:], f)
			}
			f.end()
			f.Close()
			stop(t, ear)
			wantIn(t, packets)
		})
	}
}

func TestWireguardGoGetsIntoAFloodedServer(t *testing.T) {
	w := newWorld(t)
	wantInto(t, w, w.aditServer(t).PID(), lab.ElsewhereV4)
}

func TestWireguardGoGetsIntoAFloodedDevice(t *testing.T) {
	w := newWorld(t)
	wantInto(t, w, w.aditDeviceServer(t).PID(), lab.ServiceV4)
}

// wantInto floods a process of ours that is the responder, and lets wireguard-go
// in. far is the echo service behind it.
func wantInto(t *testing.T, w *world, pid int, far netip.Addr) {
	t.Helper()
	for _, a := range attacks() {
		t.Run(a.name, func(t *testing.T) {
			ear := w.listen(t)
			rss, cpu, began := lab.RSS(pid), lab.CPU(pid), time.Now()
			f := w.flood(t, w.Client, flood.Flood{To: a.endpoint, From: a.from,
				Message: flood.Initiations(w.server.Public), Rate: floodRate, For: 30 * time.Second})
			untilCookies(t, ear)
			w.wireguardClient(t, a.endpoint)
			p := w.start(t, w.Client, probe, "pace", netip.AddrPortFrom(far, 7).String(), "20ms", "1s")
			t.Logf("echoes: %s", p.Line(suite.Deadline))
			p.WantEnd(suite.Deadline)
			n := f.end()
			f.Close()
			wantBounded(t, pid, n, rss, cpu, time.Since(began))
			packets := stop(t, ear)
			wantIn(t, honest(packets, f))
			wantModest(t, packets, f)
		})
	}
}

// wantBounded looks at what n datagrams of a flood cost a process of ours that
// had rss bytes and had computed for cpu when it began.
func wantBounded(t *testing.T, pid, n, rss int, cpu, took time.Duration) {
	t.Helper()
	// A flood leaves nothing behind: a cookie is made of a secret and an address.
	// What grows is the heap's room for the garbage of the answers.
	const most = 16 << 20
	grown, spent := lab.RSS(pid)-rss, lab.CPU(pid)-cpu
	each := spent / time.Duration(max(1, n))
	t.Logf("%d datagrams in %v: memory %+d KiB, %v of CPU, %v each", n, took.Round(time.Millisecond), grown>>10, spent, each)
	if grown > most {
		t.Errorf("memory grew by %d KiB, want at most %d", grown>>10, most>>10)
	}
	// Two MACs, a cookie and the system calls are some ten microseconds; a
	// handshake would be two hundred.
	if each > 100*time.Microsecond {
		t.Errorf("each datagram cost %v of CPU, want at most 100µs", each)
	}
}
