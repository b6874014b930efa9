package wire

import (
	"bytes"
	"encoding/binary"
	"testing"
	"time"

	"adit/e2e/suite"
	"adit/e2e/tap"
)

// runs is how many sessions are compared: enough that a bit which is the same in
// all of them by chance is one in a million.
const runs = 25

func TestSessionsHaveNothingInCommon(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.wireguardServer(t)
	conf := w.conf(t, endpointV4, "")
	ear := w.listen(t)
	for range runs {
		w.run(t, conf, "true").WantEnd(suite.Deadline)
	}
	packets := stop(t, ear)
	sessions, err := tap.Sessions(packets)
	if err != nil {
		t.Error(err)
	}
	if len(sessions) != runs {
		t.Fatalf("got %d sessions of %d runs", len(sessions), runs)
	}
	var initiations []tap.Packet
	for _, p := range packets {
		if m, ok := p.Message(); ok && m.Type == tap.Initiation {
			initiations = append(initiations, p)
		}
	}
	indicesAreAtRandom(t, sessions)
	initiationsAreAtRandom(t, initiations)
	clockIsHidden(t, initiations)
}

// §5.4.2: an index is 4 bytes at random. One that counts tells how many sessions
// there were.
func indicesAreAtRandom(t *testing.T, sessions []*tap.Session) {
	t.Helper()
	seen := map[uint32]bool{}
	var ones, zeros uint32
	for _, s := range sessions {
		if seen[s.Initiator] {
			t.Errorf("index %08x is that of two sessions", s.Initiator)
		}
		seen[s.Initiator] = true
		ones |= s.Initiator
		zeros |= ^s.Initiator
	}
	if fixed := ^(ones & zeros); fixed != 0 {
		t.Errorf("the bits %08x are the same in all of %d indices", fixed, len(sessions))
	}
}

// Every byte of an initiation but its type and the empty mac2 depends on a key
// that was made for it. While a handshake is in flight, news of the host's
// network (other tests have links of their own here) make the engine send the
// same message again, bit for bit: that is one, and says nothing new.
func initiationsAreAtRandom(t *testing.T, initiations []tap.Packet) {
	t.Helper()
	ephemerals := map[[32]byte][]byte{}
	for _, p := range initiations {
		m, _ := p.Message()
		if before, seen := ephemerals[m.Ephemeral]; seen && !bytes.Equal(before, p.Payload) {
			t.Errorf("%v: an ephemeral key that was used before, in another message", p)
		}
		ephemerals[m.Ephemeral] = p.Payload
	}
	const from, to = 4, tap.InitiationLen - 16
	for i := from; i < to; i++ {
		differs := false
		for _, p := range initiations {
			differs = differs || p.Payload[i] != initiations[0].Payload[i]
		}
		if !differs {
			t.Errorf("byte %d of the initiation is the same in all of %d", i, len(initiations))
		}
	}
}

// §5.1: the timestamp is sealed, so that nobody learns of the clock.
func clockIsHidden(t *testing.T, initiations []tap.Packet) {
	t.Helper()
	for _, p := range initiations {
		// TAI64: 2^62 and ten leap seconds; the first six bytes of eight last for
		// eighteen hours (https://cr.yp.to/libtai/tai64.html).
		label := binary.BigEndian.AppendUint64(nil, 1<<62+10+uint64(time.Now().Unix()))
		if bytes.Contains(p.Payload, label[:6]) {
			t.Errorf("%v: the time is in it: %x", p, p.Payload)
		}
	}
}
