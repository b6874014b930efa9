package wire

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"adit/e2e/flood"
	"adit/e2e/lab"
	"adit/e2e/suite"
	"adit/e2e/tap"

	"golang.org/x/sys/unix"
)

// A flooded is a tunnel that is up, and which of its ends will be flooded.
type flooded struct {
	name   string
	server func(*world, *testing.T) *suite.Program // nil: wireguard-go, and the client is adit run; else wireguard-go is the client
	far    netip.Addr                              // the echo service behind it
	client bool                                    // the client is flooded, not the server
}

var tunnels = []flooded{
	{name: "adit serve", server: (*world).aditServer, far: lab.ElsewhereV4},
	{name: "adit device", server: (*world).aditDeviceServer, far: lab.ServiceV4},
	{name: "wireguard-go with adit run", far: lab.ServiceV4},
	{name: "adit run", far: lab.ServiceV4, client: true},
}

// start brings the tunnel up, with echoes that go on while it is flooded, and
// returns them and what is needed to flood it: from where, to where, which key.
func (c flooded) start(t *testing.T, w *world, ear *tap.Tap) (echoes *suite.Program, f flood.Flood, pid int) {
	t.Helper()
	argv := []string{probe, "pace", netip.AddrPortFrom(c.far, 7).String(), "20ms", "500ms", "0s", "4s"}
	if c.server != nil {
		pid = c.server(w, t).PID()
		w.wireguardClient(t, endpointV4)
		echoes = w.start(t, w.Client, argv...)
	} else {
		w.wireguardServer(t)
		echoes = w.run(t, w.conf(t, endpointV4, ""), argv...)
	}
	if line := echoes.Line(suite.Deadline); wantEchoes(t, line, 10) {
		t.Logf("before: %s", line)
	}
	f = flood.Flood{From: flood.Ports(lab.HostV4.Addr(), 200), To: endpointV4, Rate: floodRate, For: 4 * time.Second}
	if c.client {
		f.From, f.To = flood.Ports(lab.ServerV4.Addr(), 200), addressOf(t, ear)
		pid = engineOf(t, echoes.PID())
	}
	return echoes, f, pid
}

// addressOf returns where the client speaks from.
func addressOf(t *testing.T, ear *tap.Tap) netip.AddrPort {
	t.Helper()
	for _, p := range ear.Packets() {
		if m, ok := p.Message(); ok && p.Out && m.Type == tap.Data {
			return p.Src
		}
	}
	t.Fatal("the client has sent nothing")
	return netip.AddrPort{}
}

// engineOf returns the process of an adit run that holds the socket.
func engineOf(t *testing.T, front int) int {
	t.Helper()
	for _, p := range lab.Descendants(front) {
		if p.Parent == front {
			return p.PID
		}
	}
	t.Fatalf("adit run, process %d, has no child", front)
	return 0
}

// wantEchoes reads a line of the probe and wants no echo lost.
func wantEchoes(t *testing.T, line string, atLeast int) bool {
	t.Helper()
	var sent, lost int
	var slowest string
	if _, err := fmt.Sscanf(line, "sent %d lost %d slowest %s", &sent, &lost, &slowest); err != nil {
		t.Fatalf("the probe said %q: %v", line, err)
	}
	if lost > 0 || sent < atLeast {
		t.Errorf("%s: want none lost of at least %d", line, atLeast)
		return false
	}
	return true
}

// key returns the public key of the end that is flooded.
func (c flooded) key(w *world) string {
	if c.client {
		return w.client.Public
	}
	return w.server.Public
}

func TestTunnelThatIsUpSurvivesAFlood(t *testing.T) {
	for _, c := range tunnels {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			ear := w.listen(t)
			echoes, f, pid := c.start(t, w, ear)
			f.Message = flood.Initiations(c.key(w))
			packets, r := c.survive(t, w, ear, echoes, f, pid)
			wantModest(t, packets, r)
		})
	}
}

// survive floods the tunnel and wants the echoes to go on as if nothing was.
func (c flooded) survive(t *testing.T, w *world, ear *tap.Tap, echoes *suite.Program, f flood.Flood, pid int) ([]tap.Packet, *running) {
	t.Helper()
	from := w.Client
	if c.client {
		from = w.Server
	}
	rss, cpu, began := lab.RSS(pid), lab.CPU(pid), time.Now()
	r := w.flood(t, from, f)
	line := echoes.Line(suite.Deadline)
	n := r.end()
	r.Close()
	if wantEchoes(t, line, 100) {
		t.Logf("while flooded: %s", line)
	}
	if pid != 0 {
		wantBounded(t, pid, n, rss, cpu, time.Since(began))
	}
	echoes.WantEnd(suite.Deadline)
	return stop(t, ear), r
}

// §5.1: "the protocol never responds to unauthenticated messages".
func TestWhoDoesNotKnowTheKeyIsAnsweredWithSilence(t *testing.T) {
	for _, c := range tunnels {
		if c.server == nil && !c.client {
			continue // wireguard-go is not under test
		}
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			ear := w.listen(t)
			echoes, f, pid := c.start(t, w, ear)
			stranger, somebody := flood.Responses(c.key(w)), flood.Strangers
			f.Message = func(random *rand.Rand) []byte {
				switch random.IntN(3) {
				case 0:
					return flood.Garbage(random)
				case 1:
					return stranger(random) // the key is known, the handshake is not
				}
				return somebody(random)
			}
			packets, r := c.survive(t, w, ear, echoes, f, pid)
			wantSilence(t, packets, r)
		})
	}
}

// wantSilence wants no answer at all to a flood.
func wantSilence(t *testing.T, packets []tap.Packet, r *running) {
	t.Helper()
	bad, sent := r.Sources(), 0
	for _, p := range packets {
		if bad[p.Src] {
			sent++
		}
		if bad[p.Dst] {
			t.Fatalf("%v: want silence", p)
		}
		if p.Protocol != unix.IPPROTO_UDP {
			t.Fatalf("%v: want nothing but UDP on the cable", p)
		}
	}
	if sent < 1000 {
		t.Errorf("%d datagrams of the flood on the cable, want at least 1000", sent)
	}
}

// §5.1 and §5.4.6: who sends again what a peer has sent, from somewhere else,
// hears nothing, and the peer does not seem to have moved there.
func TestReplaysAreAnsweredWithSilence(t *testing.T) {
	for _, c := range tunnels {
		if c.server == nil {
			continue // wireguard-go is not under test
		}
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			ear := w.listen(t)
			echoes, f, pid := c.start(t, w, ear)
			var heard [][]byte
			kinds := map[int]bool{}
			for _, p := range ear.Packets() {
				if m, ok := p.Message(); ok && p.Out {
					heard = append(heard, p.Payload)
					kinds[m.Type] = true
				}
			}
			if !kinds[tap.Initiation] || !kinds[tap.Data] {
				t.Fatalf("heard messages of the types %v, want an initiation and data", kinds)
			}
			next := 0
			f.From, f.Rate = flood.Addresses(lab.CrowdV4, 20), 500 // no load: that is answered by cookies
			f.Message = func(*rand.Rand) []byte {
				next++
				return heard[next%len(heard)]
			}
			packets, r := c.survive(t, w, ear, echoes, f, pid)
			wantSilence(t, packets, r)
		})
	}
}
