package wgtest

import (
	"slices"
	"time"
)

// Weather is what the network of a Sim does to datagrams: chances from 0 to 1,
// and times. Two datagrams whose delays differ by jitter overtake each other.
type Weather struct {
	Lose      float64
	Duplicate float64
	Damage    float64 // bits flipped, the end cut off, or something added
	Delay     time.Duration
	Jitter    time.Duration // each takes from Delay to just below Delay + Jitter
}

// Slowest is longer than any datagram takes.
func (w *Weather) Slowest() time.Duration { return w.Delay + w.Jitter }

// send gives d to the network. The eavesdropper sits at the sender's cable:
// she hears what is sent, once, whatever becomes of it.
func (s *Sim) send(h *Host, d *Datagram) {
	s.note('>', d)
	s.Eve.hear(s.now, h, d)
	copies := 1
	if s.Chance(s.Weather.Duplicate) {
		copies = 2
	}
	for range copies {
		if s.Chance(s.Weather.Lose) {
			continue
		}
		c := *d
		if s.Chance(s.Weather.Damage) {
			c.Data = s.damage(d.Data)
		}
		s.push(event{at: s.now + s.delay(), do: func() { s.arrive(h, &c) }, d: &c})
	}
}

func (s *Sim) delay() time.Duration {
	if s.Weather.Jitter <= 0 {
		return s.Weather.Delay
	}
	return s.Weather.Delay + time.Duration(s.Rand.Int64N(int64(s.Weather.Jitter)))
}

// damage returns what is left of b.
func (s *Sim) damage(b []byte) []byte {
	b = slices.Clone(b)
	switch s.Rand.IntN(4) {
	case 0:
		return b[:s.Rand.IntN(len(b)+1)]
	case 1:
		for range 1 + s.Rand.IntN(16) {
			b = append(b, byte(s.Rand.Uint32()))
		}
	default:
		for range 1 + s.Rand.IntN(3) {
			if len(b) > 0 {
				b[s.Rand.IntN(len(b))] ^= 1 << s.Rand.IntN(8)
			}
		}
	}
	return b
}

// InTheAir calls f for every datagram on its way, the first to arrive first. f
// may change it.
func (s *Sim) InTheAir(f func(*Datagram)) {
	q := slices.Clone(s.queue)
	slices.SortFunc(q, func(a, b event) int {
		if (eventQueue{a, b}).Less(0, 1) {
			return -1
		}
		return 1
	})
	for _, e := range q {
		if e.d != nil {
			f(e.d)
		}
	}
}
