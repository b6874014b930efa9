package wgtest

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// A radio is a machine that keeps what it hears and says what it is told to.
type radio struct {
	*Host
	got  []string
	from []netip.AddrPort
	next time.Duration
	woke []time.Duration
}

func (r *radio) Receive(_ time.Duration, d Datagram) {
	r.got = append(r.got, string(d.Data))
	r.from = append(r.from, d.From)
}
func (r *radio) Next() time.Duration { return r.next }
func (r *radio) Advance(now time.Duration) {
	r.woke = append(r.woke, now)
	r.next = 0
}

func (r *radio) say(to netip.AddrPort, words ...string) {
	for _, w := range words {
		r.Send(to, []byte(w), 0, "")
	}
}

// twoRadios returns a world that starts at one second, with a radio here and
// one there.
func twoRadios(seed uint64) (s *Sim, a, b *radio) {
	s = NewSim(seed, time.Second)
	a, b = new(radio), new(radio)
	a.Host, b.Host = s.Add("a", here, a), s.Add("b", there, b)
	return s, a, b
}

func TestADatagramTakesItsTime(t *testing.T) {
	s, a, b := twoRadios(1)
	s.Weather.Delay = 20 * time.Millisecond
	a.say(there, "x")
	s.Run(20*time.Millisecond - 1)
	if len(b.got) != 0 {
		t.Fatal("it came too early")
	}
	s.Run(1)
	if !slices.Equal(b.got, []string{"x"}) || b.from[0] != here {
		t.Fatalf("got %q from %v", b.got, b.from)
	}
}

func TestMachinesAreCalledWhenTheyWant(t *testing.T) {
	s, a, _ := twoRadios(1)
	a.next = 90 * time.Second
	s.Run(time.Hour)
	if !slices.Equal(a.woke, []time.Duration{90 * time.Second}) || s.Now() != time.Hour+time.Second {
		t.Fatalf("woken at %v; now it is %v", a.woke, s.Now())
	}
	var order []int
	s.After(2*time.Second, func() { order = append(order, 2) })
	s.After(time.Second, func() { order = append(order, 1) })
	s.After(2*time.Second, func() { order = append(order, 3) })
	s.Run(3 * time.Second)
	if !slices.Equal(order, []int{1, 2, 3}) {
		t.Fatalf("what was to happen happened in the order %v", order)
	}
}

func TestWeatherIsAsBadAsAsked(t *testing.T) {
	count := func(w Weather) (n, damaged, turned int) {
		s, a, b := twoRadios(3)
		s.Weather = w
		for i := range 1000 {
			a.say(there, fmt.Sprintf("%04d", i))
		}
		s.Run(time.Minute)
		last := ""
		for _, g := range b.got {
			if len(g) != 4 || strings.Trim(g, "0123456789") != "" {
				damaged++
			} else if g < last {
				turned++
			}
			last = g
		}
		return len(b.got), damaged, turned
	}
	if n, d, turned := count(Weather{}); n != 1000 || d != 0 || turned != 0 {
		t.Errorf("in good weather %d arrive, %d damaged, %d out of order", n, d, turned)
	}
	if n, _, _ := count(Weather{Lose: 0.3}); n < 640 || n > 760 {
		t.Errorf("%d of 1000 arrive, want about 700", n)
	}
	if n, _, _ := count(Weather{Duplicate: 0.3}); n < 1240 || n > 1360 {
		t.Errorf("%d arrive, want about 1300", n)
	}
	if n, d, _ := count(Weather{Damage: 0.5}); n != 1000 || d < 250 {
		t.Errorf("%d arrive, %d visibly damaged", n, d)
	}
	if _, _, turned := count(Weather{Jitter: time.Second}); turned < 300 {
		t.Errorf("only %d overtook another", turned)
	}
}

func TestCablesSleepAndEars(t *testing.T) {
	s, a, b := twoRadios(1)
	lost := func(what string, do, undo func()) {
		t.Helper()
		do()
		b.got = nil
		a.say(there, "lost")
		s.Run(time.Second)
		undo()
		a.say(there, "heard")
		s.Run(time.Second)
		if !slices.Equal(b.got, []string{"heard"}) {
			t.Errorf("%s: got %q", what, b.got)
		}
	}
	lost("a cut cable", func() { s.Cut(b.Host, a.Host) }, s.Heal)
	lost("deafness", func() { b.Deaf(true) }, func() { b.Deaf(false) })
	lost("deafness, healed", func() { b.Deaf(true) }, s.Heal)
	lost("sleep", b.Sleep, b.Wake)
	lost("another address", func() { b.Move(netip.MustParseAddrPort("[2001:db8::1]:9")) }, func() { b.Move(there) })

	b.Sleep()
	b.next = s.Now() + 1
	s.Run(time.Second)
	if len(b.woke) != 0 || !b.Asleep() {
		t.Error("who sleeps is told the time")
	}
	b.Wake()
	s.Run(time.Second)
	if len(b.woke) != 1 {
		t.Error("who wakes is not told the time")
	}
}

func TestInjectedDatagramsSayWhatTheyLike(t *testing.T) {
	s, _, b := twoRadios(1)
	elsewhere := netip.MustParseAddrPort("203.0.113.9:9")
	s.Inject(elsewhere, there, []byte("x"), 0)
	s.InTheAir(func(d *Datagram) { d.Data[0]++ })
	s.Run(1)
	if len(b.got) != 1 || b.got[0] != "y" || b.from[0] != elsewhere {
		t.Fatalf("got %q from %v", b.got, b.from)
	}
	if len(s.Eve.Heard) != 1 || s.Eve.Heard[0].Host != nil {
		t.Fatal("the eavesdropper did not hear that somebody else spoke")
	}
}

// One seed, one world; TestASeedDecides is the same for a Network.
func TestASeedIsAWorld(t *testing.T) {
	script := func(seed uint64) uint64 {
		s, a, b := twoRadios(seed)
		s.Weather = Weather{Lose: 0.1, Duplicate: 0.1, Damage: 0.1, Jitter: time.Second}
		for range 50 {
			a.say(there, "question")
			b.say(here, "answer")
			s.Run(time.Second)
		}
		return s.Transcript()
	}
	if first, again := script(1), script(1); first != again {
		t.Error("one seed, two worlds")
	}
	if script(1) == script(2) {
		t.Error("two seeds, one world")
	}
}

func TestNATs(t *testing.T) {
	outside := netip.MustParseAddr("198.51.100.1")
	stranger := netip.MustParseAddrPort("203.0.113.9:9")
	behind := func(n *NAT) (s *Sim, a, b *radio, at netip.AddrPort) {
		s, a, b = twoRadios(1)
		n.Outside = outside
		a.Behind(n)
		a.say(there, "hello")
		s.Run(time.Second)
		if len(b.from) != 1 || b.from[0].Addr() != outside {
			t.Fatalf("it came from %v", b.from)
		}
		return s, a, b, b.from[0]
	}
	reaches := func(s *Sim, a *radio, from, at netip.AddrPort) bool {
		a.got = nil
		s.Inject(from, at, []byte("x"), 0)
		s.Run(0)
		return len(a.got) == 1
	}

	s, a, _, at := behind(&NAT{})
	if !reaches(s, a, there, at) || reaches(s, a, stranger, at) || reaches(s, a, there, here) {
		t.Error("only whom it spoke to may answer, and only to the outside")
	}
	s, a, _, at = behind(&NAT{Open: true})
	if !reaches(s, a, stranger, at) {
		t.Error("an open NAT keeps strangers out")
	}
	n := &NAT{Timeout: 30 * time.Second}
	s, a, b, at := behind(n)
	s.Run(20 * time.Second)
	a.say(there, "still here")
	s.Run(29 * time.Second)
	if !reaches(s, a, there, at) || b.from[1] != at {
		t.Error("what goes out does not keep the mapping")
	}
	s.Run(time.Second)
	if reaches(s, a, there, at) {
		t.Error("the mapping outlives its time")
	}
	a.say(there, "back")
	s.Run(0)
	if b.from[2] == at || n.Mappings() != 1 {
		t.Error("a new mapping has the old port")
	}
	n.Rebind()
	a.say(there, "again")
	s.Run(0)
	if b.from[3] == b.from[2] {
		t.Error("a rebound NAT has the old port")
	}
	_, a, b, at = behind(&NAT{PerFarEnd: true})
	if a.say(stranger, "x"); a.sim.Eve.Heard[1].From == at {
		t.Error("two far ends see one port")
	}
	a.Behind(nil)
	if a.say(there, "x"); a.NAT() != nil || a.sim.Eve.Heard[2].From != here {
		t.Error("the NAT is still there")
	}
	_ = b
}
