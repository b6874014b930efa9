package wgtest

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// A judge notes the first verdict.
type judge struct{ said string }

func (j *judge) Helper() {}
func (j *judge) Fatalf(format string, args ...any) {
	if j.said == "" {
		j.said = fmt.Sprintf(format, args...)
	}
}

// message returns a message with its first index and, if it has one, second.
func message(kind uint32, size int, first, second uint32) string {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	binary.LittleEndian.PutUint32(b, kind)
	binary.LittleEndian.PutUint32(b[4:], first)
	if kind == Response {
		binary.LittleEndian.PutUint32(b[8:], second)
	}
	return string(b)
}

func data(index uint32, counter uint64, size int) string {
	m := []byte(message(Data, size, index, 0))
	binary.LittleEndian.PutUint64(m[8:], counter)
	return string(m)
}

// Each assertion holds for what is right and fails for what is wrong.
func TestTheEavesdropperNotices(t *testing.T) {
	response, initiation := message(Response, 92, 7, 8), message(Initiation, 148, 7, 0)
	nonces := func(e *Eavesdropper, j *judge) { e.NeverSeesANonceTwice(j) }
	oneHandshake := func(e *Eavesdropper, j *judge) { e.SeesOneHandshakePer(j, 5*time.Second) }
	silence := func(e *Eavesdropper, j *judge) { e.HearsSilenceFrom(j, e.Heard[0].Host, 10*time.Second) }
	sizes := func(e *Eavesdropper, j *judge) { e.SeesDataInMultiplesOf16(j, 1420) }
	age := func(e *Eavesdropper, j *judge) { e.SeesNoKeyOlderThan(j, 180*time.Second) }
	for _, c := range []struct {
		name   string
		does   func(s *Sim, a, b *radio)
		assert func(*Eavesdropper, *judge)
		want   string // in the verdict; empty: there is none
	}{
		{"counters that go up", func(s *Sim, a, b *radio) { a.say(there, data(8, 0, 32), data(8, 1, 32), data(9, 0, 32)) }, nonces, ""},
		{"two directions", func(s *Sim, a, b *radio) { a.say(there, data(8, 0, 32)); b.say(here, data(8, 0, 32)) }, nonces, ""},
		{"a nonce twice", func(s *Sim, a, b *radio) { a.say(there, data(8, 5, 32), data(8, 5, 48)) }, nonces, "nonce 5"},
		{"a nonce again under a new key", func(s *Sim, a, b *radio) {
			a.say(there, data(8, 5, 32), response, data(8, 5, 32))
		}, nonces, ""},
		{"a nonce again after the same response again", func(s *Sim, a, b *radio) {
			b.say(here, response)
			a.say(there, data(8, 5, 32))
			b.say(here, response)
			a.say(there, data(8, 5, 32))
		}, nonces, "nonce 5"},
		{"an attacker's copy", func(s *Sim, a, b *radio) {
			a.say(there, data(8, 5, 32))
			s.Inject(here, there, []byte(data(8, 5, 32)), 0)
		}, nonces, ""},
		{"a young key", func(s *Sim, a, b *radio) {
			b.say(here, response)
			s.Run(179 * time.Second)
			a.say(there, data(7, 0, 32))
		}, age, ""},
		{"an old key", func(s *Sim, a, b *radio) {
			b.say(here, response)
			s.Run(180 * time.Second)
			a.say(there, data(7, 0, 32))
		}, age, "3m0s old"},
		{"handshakes at their rate", func(s *Sim, a, b *radio) {
			a.say(there, initiation, initiation)
			s.Run(5 * time.Second)
			a.say(there, message(Initiation, 148, 9, 0))
		}, oneHandshake, ""},
		{"handshakes too often", func(s *Sim, a, b *radio) { a.say(there, initiation, message(Initiation, 148, 9, 0)) }, oneHandshake, "0s later"},
		{"a last word", func(s *Sim, a, b *radio) { a.say(there, "x"); s.Run(time.Minute); b.say(here, "x") }, silence, ""},
		{"a word too late", func(s *Sim, a, b *radio) { a.say(there, "x"); s.Run(10 * time.Second); a.say(there, "x") }, silence, "should have been silent"},
		{"padded data", func(s *Sim, a, b *radio) { a.say(there, data(1, 1, 32), data(1, 2, 160), data(1, 3, 1452)) }, sizes, ""},
		{"a telling size", func(s *Sim, a, b *radio) { a.say(there, data(1, 1, 33)) }, sizes, "33 bytes"},
		{"no message", func(s *Sim, a, b *radio) { a.say(there, initiation[:147]) }, func(e *Eavesdropper, j *judge) { e.SeesOnlyMessages(j) }, "no message"},
		{"clear text", func(s *Sim, a, b *radio) { a.say(there, "the secret word") }, func(e *Eavesdropper, j *judge) { e.SeesNoClearText(j, []byte("secret")) }, "in clear"},
		{"sealed text", func(s *Sim, a, b *radio) { a.say(there, "the public word") }, func(e *Eavesdropper, j *judge) { e.SeesNoClearText(j, []byte("secret")) }, ""},
		{"few handshakes", func(s *Sim, a, b *radio) { a.say(there, initiation) }, func(e *Eavesdropper, j *judge) { e.SeesIndicesAtRandom(j) }, "too few"},
	} {
		s, a, b := twoRadios(1)
		s.Weather = Weather{}
		c.does(s, a, b)
		j := new(judge)
		c.assert(s.Eve, j)
		if (j.said == "") != (c.want == "") || !strings.Contains(j.said, c.want) {
			t.Errorf("%s: the verdict is %q, want %q", c.name, j.said, c.want)
		}
	}
}

func TestTheEavesdropperReadsTOS(t *testing.T) {
	for _, c := range []struct {
		msg  string
		tos  uint8
		want bool
	}{
		{data(1, 1, 32), 3, true}, {data(1, 1, 32), 4, false}, {data(1, 1, 32), 0xb8, false},
		{message(Initiation, 148, 1, 0), 0x88, true}, {message(Response, 92, 1, 2), 0, false},
		{message(Cookie, 64, 1, 0), 0, true}, {message(Cookie, 64, 1, 0), 0x88, false},
	} {
		s, a, _ := twoRadios(1)
		a.Send(there, []byte(c.msg), c.tos, "")
		j := new(judge)
		s.Eve.SeesOnlyECNInDataTOS(j, 0x88)
		if (j.said == "") != c.want {
			t.Errorf("type %d with TOS %#x: %q", c.msg[0], c.tos, j.said)
		}
	}
}

// What a counter, a shift register or a constant would send is found out.
func TestTheEavesdropperKnowsACoin(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	lfsr := uint32(1)
	for name, c := range map[string]struct {
		next func(i int) uint32
		want bool
	}{
		"random":   {func(int) uint32 { return rng.Uint32() }, true},
		"counting": {func(i int) uint32 { return uint32(i) }, false},
		"constant": {func(int) uint32 { return 0x12345678 }, false},
		"repeated": {func(i int) uint32 { return uint32(i/8) * 2654435761 }, false},
		"shifted": {func(int) uint32 { // eight bits that are never all zero, in every byte
			lfsr = lfsr>>1 ^ -(lfsr&1)&0xb8
			return lfsr * 0x01010101 & 0xff
		}, false},
	} {
		s, a, _ := twoRadios(1)
		for i := range 300 {
			a.say(there, message(Initiation, 148, c.next(i), 0))
		}
		j := new(judge)
		s.Eve.SeesIndicesAtRandom(j)
		if (j.said == "") != c.want {
			t.Errorf("%s indices: %q", name, j.said)
		}
		if s.Eve.SeesEphemeralsAtRandom(t); len(s.Eve.Sent(a.Host, Initiation)) != 300 {
			t.Error("not all was heard")
		}
	}
}
