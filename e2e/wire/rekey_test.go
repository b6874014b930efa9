package wire

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"adit/e2e/lab"
	"adit/e2e/suite"
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
func story(t *testing.T, w *world, far netip.Addr, start func(argv ...string) *suite.Program) {
	t.Helper()
	ear := w.listen(t)
	p := start(probe, "pace", netip.AddrPortFrom(far, 7).String(), every.String(),
		talking.String(), idle.String(), again.String())
	first := p.Line(talking + patience)
	t.Logf("over the rekey: %s", first)
	wantEchoes(t, first, int(talking/every))
	second := p.Line(idle + again + patience)
	t.Logf("after the silence: %s", second)
	wantEchoes(t, second, int(again/every))
	p.WantEnd(suite.Deadline)
	packets := stop(t, ear)
	sessions, err := tap.Sessions(packets)
	if err != nil {
		t.Error(err)
	}
	for i, s := range sessions {
		t.Logf("session %d after %v: sent %d, last %v after, received %d, last %v after", i, s.Began.Sub(sessions[0].Began).Round(time.Millisecond),
			s.Out.Messages, s.Out.Last.Sub(s.Began).Round(time.Millisecond), s.In.Messages, s.In.Last.Sub(s.Began).Round(time.Millisecond))
	}
	if needless, yes := needlessHandshake(packets); yes && w.foreign {
		// Its device/send.go arms the timer of §6.5 behind the system call that
		// sends: what has come by then does not clear it. The rest of the story
		// is another one; what we send in it is judged all the same.
		t.Logf("%v: wireguard-go has begun a handshake though it had heard from us since it last sent data", needless)
	} else if again, yes := repeatedHandshake(packets); yes && w.foreignClient {
		// Likewise with the timer of §6.4.
		t.Logf("%v: wireguard-go has repeated a handshake though it had been answered", again)
	} else {
		wantHandshakes(t, packets, sessions)
		if len(sessions) > 1 {
			wantSilent(t, packets, sessions[1])
		}
	}
	for i, s := range sessions {
		var next *tap.Session
		if i+1 < len(sessions) {
			next = sessions[i+1]
		}
		wantFresh(t, fmt.Sprintf("session %d, client", i), s, &s.Out, next)
		wantFresh(t, fmt.Sprintf("session %d, server", i), s, &s.In, next)
	}
}

// needlessHandshake returns the first initiation of the responder, if the
// initiator has sent something after the last data that the responder sent before
// it: that was to spare it the handshake (§6.5).
func needlessHandshake(packets []tap.Packet) (p tap.Packet, yes bool) {
	heard := false
	for _, p := range packets {
		m, ok := p.Message()
		switch {
		case ok && m.Type == tap.Initiation && !p.Out:
			return p, heard
		case ok && m.Type == tap.Data && p.Out:
			heard = true
		case ok && m.Type == tap.Data && m.Len > tap.KeepaliveLen:
			heard = false
		}
	}
	return p, false
}

// repeatedHandshake returns the first initiation of the initiator that comes
// Rekey-Timeout, and its jitter, after one that was answered (§6.4).
func repeatedHandshake(packets []tap.Packet) (p tap.Packet, yes bool) {
	var began time.Time
	answered := false
	for _, p := range packets {
		m, ok := p.Message()
		switch {
		case ok && m.Type == tap.Response && !p.Out:
			answered = true
		case ok && m.Type == tap.Initiation && p.Out:
			if after := p.At.Sub(began); answered && after >= rekeyTimeout && after < rekeyTimeout+time.Second {
				return p, true
			}
			began, answered = p.At, false
		}
	}
	return p, false
}

func TestRepeatedHandshakeIsOneThatWasAnswered(t *testing.T) {
	message := func(at time.Duration, kind byte, n int, out bool) tap.Packet {
		return tap.Packet{At: time.Unix(0, 0).Add(at), Out: out, Payload: append([]byte{kind}, make([]byte, n-1)...)}
	}
	initiation := func(at time.Duration) tap.Packet { return message(at, tap.Initiation, tap.InitiationLen, true) }
	response := message(time.Millisecond, tap.Response, tap.ResponseLen, false)
	for name, c := range map[string]struct {
		packets []tap.Packet
		want    bool
	}{
		"answered":               {[]tap.Packet{initiation(0), response, initiation(rekeyTimeout)}, true},
		"lost":                   {[]tap.Packet{initiation(0), initiation(rekeyTimeout)}, false},
		"answered, renewed":      {[]tap.Packet{initiation(0), response, initiation(rekeyAfterTime)}, false},
		"lost, answered, at end": {[]tap.Packet{initiation(0), initiation(rekeyTimeout), response}, false},
	} {
		if _, got := repeatedHandshake(c.packets); got != c.want {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
	}
}

func TestHandshakeOfAResponderThatHeardNothingIsNotNeedless(t *testing.T) {
	message := func(kind byte, n int, out bool) tap.Packet {
		return tap.Packet{Out: out, Payload: append([]byte{kind}, make([]byte, n-1)...)}
	}
	initiation := message(tap.Initiation, tap.InitiationLen, false)
	ours, theirs, keepalive := message(tap.Data, 96, true), message(tap.Data, 96, false), message(tap.Data, tap.KeepaliveLen, true)
	for name, c := range map[string]struct {
		packets []tap.Packet
		want    bool
	}{
		"nothing since":        {[]tap.Packet{ours, theirs, initiation}, false},
		"data since":           {[]tap.Packet{theirs, ours, initiation}, true},
		"a keepalive since":    {[]tap.Packet{theirs, keepalive, initiation}, true},
		"after it only":        {[]tap.Packet{theirs, initiation, ours}, false},
		"none by them, but us": {[]tap.Packet{theirs, ours, message(tap.Initiation, tap.InitiationLen, true)}, false},
	} {
		if _, got := needlessHandshake(c.packets); got != c.want {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
	}
}

// wantHandshakes wants one to begin, one after 120 s of talk, one after the
// silence, all by the client: the initiator of a session is who renews it (§6.2).
func wantHandshakes(t *testing.T, packets []tap.Packet, sessions []*tap.Session) {
	t.Helper()
	var initiations []tap.Packet
	for _, p := range packets {
		if m, ok := p.Message(); ok && m.Type == tap.Initiation {
			initiations = append(initiations, p)
			if !p.Out {
				t.Errorf("%v: the responder has begun a handshake", p)
			}
		}
	}
	if len(initiations) != 3 || len(sessions) != 3 {
		t.Errorf("got %d initiations and %d responses, want 3 of each", len(initiations), len(sessions))
		for _, p := range packets {
			if m, ok := p.Message(); ok && m.Type != tap.Data {
				t.Log(p)
			}
		}
		return
	}
	if d := sessions[1].Began.Sub(sessions[0].Began); d < rekeyAfterTime || d > rekeyAfterTime+rekeyTimeout {
		t.Errorf("the second handshake comes %v after the first, want %v (§6.2: Rekey-After-Time)", d, rekeyAfterTime)
	}
	if d := sessions[2].Began.Sub(sessions[1].Began); d < rejectAfterTime {
		t.Errorf("the third handshake comes %v after the second: the silence was too short for this test", d)
	}
}

// wantFresh looks at one direction of a session: nothing under its keys once
// they are too old, or once the next session is there to send by (§6.2, §6.3).
func wantFresh(t *testing.T, who string, s *tap.Session, d *tap.Direction, next *tap.Session) {
	t.Helper()
	if gap := d.Gaps(); gap != "" {
		t.Errorf("%s: %s, want counters from 0 by one (§5.4.6)", who, gap)
	}
	if age := d.Last.Sub(s.Began); d.Messages > 0 && age > rejectAfterTime {
		t.Errorf("%s: data %v after the handshake, want none after %v", who, age, rejectAfterTime)
	}
	if next == nil {
		return
	}
	if late := d.Last.Sub(next.Began); late > rekeyTimeout {
		t.Errorf("%s: data %v after the next session began", who, late)
	}
}

// wantSilent wants nothing on the cable between the last echo and the time when
// the session is too old but what timers.c allows: who has heard data and sent
// none answers with a keepalive after ten seconds, and, if more has come
// meanwhile, with one more after another ten (wg_timers_data_received).
func wantSilent(t *testing.T, packets []tap.Packet, s *tap.Session) {
	t.Helper()
	const keepaliveTimeout = 10 * time.Second
	var talk time.Time // the last echo, or its request
	silence := func(p tap.Packet) bool { return p.At.After(s.Began) && p.At.Before(s.Began.Add(rejectAfterTime)) }
	for _, p := range packets {
		if m, ok := p.Message(); ok && m.Type == tap.Data && m.Len > tap.KeepaliveLen && silence(p) {
			talk = p.At
		}
	}
	alive := map[bool]int{}
	for _, p := range packets {
		if !silence(p) || !p.At.After(talk) {
			continue
		}
		m, _ := p.Message()
		alive[p.Out]++
		if m.Type != tap.Data || alive[p.Out] > 2 || p.At.Sub(talk) > 2*keepaliveTimeout+rekeyTimeout {
			t.Errorf("%v: in the silence", p)
		}
	}
}

func TestRekeyInRealTimeFromAditRunToWireguardGo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.wireguardServer(t)
	conf := w.conf(t, endpointV4, "")
	story(t, w, lab.ServiceV4, func(argv ...string) *suite.Program { return w.run(t, conf, argv...) })
}

func TestRekeyInRealTimeFromWireguardGoToAditServe(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.aditServer(t)
	w.wireguardClient(t, endpointV6)
	story(t, w, lab.ElsewhereV6, func(argv ...string) *suite.Program { return w.start(t, w.Client, argv...) })
}

func TestRekeyInRealTimeFromAditRunToAditServe(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.aditServer(t)
	conf := w.conf(t, endpointV6, "")
	story(t, w, lab.ElsewhereV4, func(argv ...string) *suite.Program { return w.run(t, conf, argv...) })
}

func TestRekeyInRealTimeFromWireguardGoToAditDevice(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.aditDeviceServer(t)
	w.wireguardClient(t, endpointV4)
	story(t, w, lab.ServiceV6, func(argv ...string) *suite.Program { return w.start(t, w.Client, argv...) })
}

func TestRekeyInRealTimeFromAditDeviceToWireguardGo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.wireguardServer(t)
	w.aditDeviceClient(t, endpointV6)
	story(t, w, lab.ServiceV4, func(argv ...string) *suite.Program { return w.start(t, w.Client, argv...) })
}
