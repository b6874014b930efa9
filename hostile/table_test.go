package hostile

import (
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestEveryAttemptSaysWhatItIsAndWhatShouldComeOfIt(t *testing.T) {
	seen, made := make(map[string]bool), make(map[string]int)
	plain := regexp.MustCompile(`^[a-z][a-z0-9-]+$`)
	for _, a := range All() {
		switch {
		case seen[a.Name] || !plain.MatchString(a.Name):
			t.Errorf("%q: not a good name, or there twice", a.Name)
		case a.Does == "" || a.Category == "" || strings.HasSuffix(a.Does, "."):
			t.Errorf("%s: does %q, category %q", a.Name, a.Does, a.Category)
		case a.try == nil:
			t.Errorf("%s: does nothing", a.Name)
		case a.Alone && a.Control != Nobody:
			t.Errorf("%s: would end the control", a.Name)
		}
		seen[a.Name] = true
		for _, mode := range []string{Namespace, Seccomp, Preload} {
			e, ok := a.Expect[mode]
			if !ok || e.Kind == Refused && len(e.Errnos) == 0 {
				t.Errorf("%s: nothing is expected in mode %s", a.Name, mode)
			}
			if a.In(mode) {
				made[mode]++
			}
		}
		if Find(a.Name) != a || a.ID() == 0 {
			t.Errorf("%s: is not found", a.Name)
		}
	}
	for mode, n := range made {
		if n < 250 {
			t.Errorf("mode %s: there are %d attempts, want at least 250", mode, n)
		}
		t.Logf("mode %s: %d attempts", mode, n)
	}
	if len(seen) > 800 { // the watch opens its other listeners past their ports
		t.Errorf("there are %d attempts, want at most 800", len(seen))
	}
}

func TestVerdictGoesByTheWatchBeforeTheAttempt(t *testing.T) {
	udp, raw, path := Find("udp4"), Find("raw4-icmp"), Find("unix-path")
	where := func(a *Attempt) []Sighting { return []Sighting{{Mark{a.id, "key"}, "eth0"}} }
	for _, c := range []struct {
		about   string
		a       *Attempt
		result  Result
		seen    []Sighting
		through map[Mark]bool
		want    Verdict
	}{
		{"sent into the tunnel", udp, sent(), nil, nil, Held},
		{"seen outside, whatever it says", udp, no("send", unix.EPERM), where(udp), nil, Leaked},
		{"seen outside, after it went through the tunnel", udp, sent(), where(udp), map[Mark]bool{{udp.id, "key"}: true}, Held},
		{"seen outside, another of its packets through the tunnel", udp, sent(), where(udp), map[Mark]bool{{udp.id, "other"}: true}, Leaked},
		{"another's packet", udp, sent(), where(raw), nil, Held},
		{"unreachable", udp, no("send", unix.ENETUNREACH), nil, nil, Held},
		{"refused as expected", raw, no("socket", unix.EPERM), nil, nil, Held},
		{"refused in another way", raw, no("socket", unix.EINVAL), nil, nil, Otherwise},
		{"not refused", raw, sent(), nil, nil, Otherwise},
		{"it got what is the host's", raw, got("socket"), nil, nil, Leaked},
		{"the kernel has none", raw, missing("socket"), nil, nil, Absent},
		{"it fell over", raw, broken(unix.EIO), nil, nil, Untried},
		{"open on purpose", path, got("connect"), nil, nil, OpenDoor},
		{"seen, on purpose", path, sent(), where(path), nil, OpenDoor},
		{"closed all the same", path, no("connect", unix.ENOENT), nil, nil, Held},
		{"nothing after the end of adit, and it did begin", Find("kill-engine"), broken(unix.EIO), nil, map[Mark]bool{{Find("kill-engine").id, "key"}: true}, Held},
		{"nothing, and it did not begin", Find("kill-engine"), broken(unix.EIO), nil, nil, Untried},
		{"it was started and no more", Find("kill-engine"), Result{State: StateBegun}, nil, nil, Untried},
		{"not there, in the way that a refusal was expected", Find("vsock-pair"), noSuch("socketpair", unix.EOPNOTSUPP), nil, nil, Held},
	} {
		c.result.Name = c.a.Name
		rows := Judge("namespace", []*Attempt{c.a}, []Result{c.result}, c.seen, c.through)
		if rows[0].Verdict != c.want {
			t.Errorf("%s: got %s, want %s", c.about, rows[0].Verdict, c.want)
		}
	}
	dies := Find("kill-engine")
	if rows := Judge(Preload, []*Attempt{dies}, []Result{{Name: dies.Name, State: StateBegun}}, nil, nil); rows[0].Verdict != Held {
		t.Errorf("an attempt that ended adit, where nothing goes through a tunnel: got %s, want %s", rows[0].Verdict, Held)
	}
	if rows := Judge("namespace", []*Attempt{udp}, nil, nil, nil); rows[0].Verdict != Untried {
		t.Errorf("an attempt of which nothing was heard: got %s, want %s", rows[0].Verdict, Untried)
	}
}

// A world as a laboratory has it.
func testWorld(id int) *World {
	w := &World{Token: "0123456789ab", Port: 20000, Base: 20000, Domain: "test", id: id}
	w.Host4 = netip.MustParseAddr("10.0.0.1")
	w.Far4 = netip.MustParseAddr("198.51.100.1")
	return w
}

func TestPacketsAreKnownByTheirMarks(t *testing.T) {
	w := testWorld(7)
	tcp := w.udpPacket(netip.MustParseAddrPort("198.51.100.1:20007"))[:28]
	tcp[9] = unix.IPPROTO_TCP
	group := w.group4().As4()
	igmp := append(append(make([]byte, 20), 0x22, 0, 0, 0, 0, 0, 0, 2), 4, 0, 0, 0, 239, 9, 9, 9, 4, 0, 0, 0)
	igmp[0], igmp[9] = 0x45, unix.IPPROTO_IGMP
	igmp = append(igmp, group[:]...)
	group6 := w.group6().As16()
	for _, c := range []struct {
		about string
		kind  uint16
		pkt   []byte
		want  int
	}{
		{"a datagram", unix.ETH_P_IP, w.udpPacket(netip.MustParseAddrPort("10.0.0.1:53")), 7},
		{"a question", unix.ETH_P_IP, append(make([]byte, 28), query(w.question())...), 7},
		{"the first packet of a connection", unix.ETH_P_IP, tcp, 7},
		{"a group among others", unix.ETH_P_IP, igmp, 7},
		{"a group of IPv6", unix.ETH_P_IPV6, append(make([]byte, 60), group6[:]...), 7},
		{"a group of IPv6, cut", unix.ETH_P_IPV6, append(make([]byte, 60), group6[:14]...), 0},
		{"somebody else's", unix.ETH_P_IP, testOther().udpPacket(netip.MustParseAddrPort("10.0.0.1:53")), 0},
		{"nothing", unix.ETH_P_IP, nil, 0},
	} {
		id := 0
		for _, m := range w.find(c.kind, c.pkt) {
			id = m.ID
		}
		if id != c.want {
			t.Errorf("%s: got attempt %d, want %d", c.about, id, c.want)
		}
	}
}

func testOther() *World {
	w := testWorld(7)
	w.Token = "ba9876543210"
	return w
}

// Packets come from anybody.
func FuzzMarks(f *testing.F) {
	f.Add(uint16(unix.ETH_P_IP), testWorld(1).udpPacket(netip.MustParseAddrPort("10.0.0.1:53")))
	f.Add(uint16(unix.ETH_P_IPV6), make([]byte, 44))
	f.Fuzz(func(t *testing.T, kind uint16, pkt []byte) {
		for _, m := range testWorld(1).find(kind, pkt) {
			if m.ID < 1 || m.ID > len(All()) {
				t.Errorf("got attempt %d", m.ID)
			}
		}
	})
}

func TestCaptureOfTheTunnelIsRead(t *testing.T) {
	w := testWorld(9)
	file := make([]byte, 24)
	for range 3 {
		pkt := w.udpPacket(netip.MustParseAddrPort("10.0.0.1:53"))
		file = append(append(file, 0, 0, 0, 0, 0, 0, 0, 0, byte(len(pkt)), 0, 0, 0, byte(len(pkt)), 0, 0, 0), pkt...)
	}
	path := filepath.Join(t.TempDir(), "inner.pcap")
	for _, c := range []struct{ size, want int }{{len(file), 3}, {len(file) - 1, 2}, {24, 0}, {3, 0}} {
		if err := os.WriteFile(path, file[:c.size], 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := w.Through(path)
		if err != nil || len(got) != c.want {
			t.Errorf("%d bytes: got %d marks, %v, want %d", c.size, len(got), err, c.want)
		}
	}
}

func TestWhatIsSaidInsideIsRead(t *testing.T) {
	mode, results := Read([]byte(`{"mode":"seccomp","name":"","state":""}
{"name":"udp4","state":"sent"}
{"name":"kill-engine","state":"begun"}
{"name":"daemon","state":"begun"}
{"name":"daemon","state":"sent"}
{"name":"udp6","sta`))
	want := []Result{{Name: "udp4", State: StateSent}, {Name: "kill-engine", State: StateBegun}, {Name: "daemon", State: StateSent}}
	if mode != Seccomp || !slices.Equal(results, want) {
		t.Errorf("got %q %v, want %q %v", mode, results, Seccomp, want)
	}
}

func TestListIsInTheOrderOfItsNumbers(t *testing.T) {
	if !slices.IsSortedFunc(All(), func(a, b *Attempt) int { return a.ID() - b.ID() }) {
		t.Error("the list is not in order")
	}
}
