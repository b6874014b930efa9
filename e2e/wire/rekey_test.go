package wire

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"adit/e2e/lab"
	"adit/e2e/tap"
)

// The constants of §6.1.
const (
	rekeyAfterTime  = 120 * time.Second
	rejectAfterTime = 180 * time.Second
	rekeyTimeout    = 5 * time.Second
)

// The story of one tunnel: echoes five times a second over the first rekey,
// silence until the second session is too old, echoes again.
const (
	every    = 200 * time.Millisecond
	talking  = rekeyAfterTime + 8*time.Second
	idle     = rejectAfterTime - 2*time.Second // talking went on for 8 s in the second session
	again    = 2 * time.Second
	patience = 60 * time.Second // for a busy machine, beyond what the story takes
)

// story runs the echoes by start, which is given the arguments of probe, and
// judges them and what was on the cable. far is the echo service.
func story(t *testing.T, w *world, far netip.Addr, start func(argv ...string) *program) {
	t.Helper()
	ear := w.listen(t)
	began := time.Now()
	p := start(probe, "pace", netip.AddrPortFrom(far, 7).String(), every.String(),
		talking.String(), idle.String(), again.String())
	first := p.line(talking + patience)
	t.Logf("over the rekey: %s", first)
	second := p.line(idle + again + patience)
	t.Logf("after the silence: %s", second)
	p.wantEnd(deadline)
	for i, line := range []string{first, second} {
		var sent, lost int
		var slowest string
		if _, err := fmt.Sscanf(line, "sent %d lost %d slowest %s", &sent, &lost, &slowest); err != nil {
			t.Fatalf("the probe said %q: %v", line, err)
		}
		if lost != 0 {
			t.Errorf("stretch %d: %d of %d echoes lost, want none", i, lost, sent)
		}
		// A ticker leaves out what a busy machine has no time for.
		if want := int([]time.Duration{talking, again}[i]/every) * 8 / 10; sent < want {
			t.Errorf("stretch %d: %d echoes sent, want at least %d", i, sent, want)
		}
	}
	packets := stop(t, ear)
	sessions, err := tap.Sessions(packets)
	if err != nil {
		t.Error(err)
	}
	for i, s := range sessions {
		t.Logf("session %d after %v: initiated by the client %v, sent %d, last %v after, received %d, last %v after",
			i, s.Began.Sub(began).Round(time.Millisecond), s.ByOut, s.Out.Messages, s.Out.Last.Sub(s.Began).Round(time.Millisecond),
			s.In.Messages, s.In.Last.Sub(s.Began).Round(time.Millisecond))
	}
	judge(t, packets, sessions)
}

// judge looks at the handshakes and at whose keys were used when.
func judge(t *testing.T, packets []tap.Packet, sessions []*tap.Session) {
	t.Helper()
	initiations := 0
	for _, p := range packets {
		if m, ok := p.Message(); ok && m.Type == tap.Initiation {
			initiations++
			if !p.Out {
				t.Errorf("%v: only the one who began sends initiations (§6.2: the initiator of the current session)", p)
			}
		}
	}
	// One to begin, one after 120 s of talk, one after the silence.
	if initiations != 3 || len(sessions) != 3 {
		for _, p := range packets {
			if m, ok := p.Message(); ok && m.Type != tap.Data {
				t.Log(p)
			}
		}
		t.Fatalf("got %d initiations and %d responses, want 3 of each", initiations, len(sessions))
	}
	if d := sessions[1].Began.Sub(sessions[0].Began); d < rekeyAfterTime || d > rekeyAfterTime+rekeyTimeout {
		t.Errorf("the second handshake comes %v after the first, want %v (§6.2: Rekey-After-Time)", d, rekeyAfterTime)
	}
	if d := sessions[2].Began.Sub(sessions[1].Began); d < rejectAfterTime {
		t.Errorf("the third handshake comes %v after the second: the silence was too short for this test", d)
	}
	for i, s := range sessions {
		for who, d := range map[string]*tap.Direction{"client": &s.Out, "server": &s.In} {
			if gap := d.Gaps(); gap != "" {
				t.Errorf("session %d, %s: %s, want counters from 0 by one (§5.4.6)", i, who, gap)
			}
			if age := d.Last.Sub(s.Began); age > rejectAfterTime {
				t.Errorf("session %d, %s: data %v after the handshake (§6.2: never after Reject-After-Time)", i, who, age)
			}
			// Once the new session is confirmed it is the one to send by (§6.3).
			if i+1 < len(sessions) {
				if late := d.Last.Sub(sessions[i+1].Began); late > rekeyTimeout {
					t.Errorf("session %d, %s: data %v after the next session began", i, who, late)
				}
			}
		}
	}
	silence(t, packets, sessions[1])
}

// silence wants nothing on the cable between the end of the talk and the third
// handshake but the passive keepalives (§6.5).
func silence(t *testing.T, packets []tap.Packet, s *tap.Session) {
	t.Helper()
	last := slices.MaxFunc([]time.Time{s.Out.Last, s.In.Last}, time.Time.Compare)
	alive := s.Out.Keepalives + s.In.Keepalives
	// The initiator confirms an idle session by one, and whoever heard data last
	// answers with one after ten seconds.
	if alive > 2 {
		t.Errorf("got %d keepalives in the session of the silence, want at most 2", alive)
	}
	for _, p := range packets {
		if p.At.After(last) && p.At.Before(s.Began.Add(rejectAfterTime)) {
			t.Errorf("%v: in the silence", p)
		}
	}
}

func TestRekeyInRealTimeFromAditRunToWireguardGo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.wireguardServer(t)
	conf := w.conf(t, endpointV4, "")
	story(t, w, lab.ServiceV4, func(argv ...string) *program { return w.run(t, conf, argv...) })
}

func TestRekeyInRealTimeFromWireguardGoToAditServe(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.aditServer(t)
	w.wireguardClient(t, endpointV6)
	story(t, w, lab.ElsewhereV6, func(argv ...string) *program { return w.start(t, w.Client, argv...) })
}

func TestRekeyInRealTimeFromAditRunToAditServe(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.aditServer(t)
	conf := w.conf(t, endpointV6, "")
	story(t, w, lab.ElsewhereV4, func(argv ...string) *program { return w.run(t, conf, argv...) })
}
