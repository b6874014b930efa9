package wg

import (
	"math/rand/v2"
	"testing"
)

// §6.3; noise.c, add_new_keypair: whatever the order in which sessions come,
// there are three at most, and the keys and the index of all others are gone.
func TestRotationForgetsWhatItReplaces(t *testing.T) {
	for seed := range uint64(50) {
		rng := rand.New(rand.NewPCG(seed, 0))
		_, a, _ := newPair(t, seed)
		c, p := a.core, a.peer()
		var all []*session
		for range 30 {
			s := newSession(simStart, &[32]byte{}, &[32]byte{}, c.index.add(p, c.random), 0, false)
			switch rng.IntN(3) {
			case 0:
				c.installInitiated(p, s)
				all = append(all, s)
			case 1:
				c.installResponded(p, s)
				all = append(all, s)
			case 2:
				c.forget(s)
				if p.upcoming != nil && !c.confirm(p, p.upcoming) {
					t.Fatal("the upcoming session was not confirmed")
				}
			}
			live := map[*session]bool{}
			for _, s := range []*session{p.previous, p.current.Load(), p.upcoming} {
				if s != nil {
					live[s] = true
				}
			}
			for i, s := range all {
				if kept := s.refs.Load() > 0; kept != live[s] {
					t.Fatalf("seed %d: session %d of %d: keys are there: %v, in use: %v", seed, i, len(all), kept, live[s])
				}
				if indexed := c.index.lookup(s.local).session == s; indexed != live[s] {
					t.Fatalf("seed %d: session %d of %d: indexed: %v, in use: %v", seed, i, len(all), indexed, live[s])
				}
			}
		}
	}
}

// The sessions end where noise.c puts them.
func TestRotation(t *testing.T) {
	_, a, _ := newPair(t, 1)
	c, p := a.core, a.peer()
	fresh := func() *session {
		return newSession(simStart, &[32]byte{}, &[32]byte{}, c.index.add(p, c.random), 0, false)
	}
	want := func(step string, previous, current, upcoming *session) {
		t.Helper()
		if p.previous != previous || p.current.Load() != current || p.upcoming != upcoming {
			t.Fatalf("%s: the three sessions are not where they belong", step)
		}
	}
	s1, s2, s3, s4, s5 := fresh(), fresh(), fresh(), fresh(), fresh()
	c.installInitiated(p, s1)
	want("initiated", nil, s1, nil)
	c.installInitiated(p, s2)
	want("initiated again", s1, s2, nil)
	c.installResponded(p, s3)
	want("responded", nil, s2, s3)
	if c.confirm(p, s2) {
		t.Fatal("a message in the current session confirmed something")
	}
	c.confirm(p, s3)
	want("confirmed", s2, s3, nil)
	c.installResponded(p, s4)
	c.installInitiated(p, s5)
	want("initiated beside an upcoming one", s4, s5, nil)
}
