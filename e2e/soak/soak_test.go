package soak

import (
	"fmt"
	"maps"
	"math"
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"adit/e2e/lab"
	"adit/e2e/suite"
	"adit/e2e/tap"
)

// soakVar says how long to soak; unset it is what CI has time for.
const soakVar = "ADIT_SOAK"

// A limit is how much something may grow in an hour, and why that much.
//
// memory: Go gives memory back when it sees fit, and its heap may be twice what
// is in use; what is lost for good would not stop at that.
// heap: what the last garbage collection left, as it happened to come.
// descriptors, goroutines: those of a connection go with it. One that stays for
// each of the restarts, moves or short runs is hundreds an hour.
// threads: Go keeps those that it once needed, and needs another now and then.
var limits = map[string]float64{
	"memory": 16 << 20, "heap": 8 << 20, "descriptors": 6, "threads": 12, "goroutines": 6,
}

// cycle is the time in which everything happens once; what is compared are the
// quietest moments of cycles.
const cycle = 30 * time.Second

func TestNothingGrowsUnderTraffic(t *testing.T) {
	span := 3 * time.Minute
	if v := os.Getenv(soakVar); v != "" {
		var err error
		if span, err = time.ParseDuration(v); err != nil || span < 3*time.Minute {
			t.Fatalf("%s=%s: want a time of at least three minutes", soakVar, v)
		}
	}
	w := newWorld(t)
	s := newSoak(t, w)
	s.run(span)
	s.stopTraffic()
	s.report()
	s.givesBack("adit device", 30*time.Second)
	if span > 3*time.Minute { // a gateway keeps a silent flow as long as that
		s.givesBack("adit serve", 4*time.Minute)
	}
}

// A soak is what runs and what is known of it.
type soak struct {
	t       *testing.T
	w       *world
	began   time.Time
	ear     *tap.Tap
	watched map[string]int                 // processes of adit, by what they are
	idle    map[string]map[string]float64  // what the servers held before there was traffic
	samples map[string]map[string][]Sample // by process and measure

	carriers map[string]*suite.Program // what carries traffic
	totals   map[string]*totals        // by carrier
	reading  sync.WaitGroup

	restarts, moves, roams, changes int
	short                           shortRuns
	moved                           bool // the client has its other address
}

func newSoak(t *testing.T, w *world) *soak {
	t.Helper()
	s := &soak{t: t, w: w, began: time.Now(), watched: map[string]int{}, idle: map[string]map[string]float64{}, samples: map[string]map[string][]Sample{},
		carriers: map[string]*suite.Program{}, totals: map[string]*totals{}}
	if err := w.Client.Do(func() (err error) {
		s.ear, err = tap.OpenInitiations("eth0")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	w.startPeer(t)
	t.Cleanup(func() { w.peer.Kill() })
	s.watched["adit serve"] = w.startServe(t).PID()
	if d := w.startDevice(t); d != nil {
		s.watched["adit device"] = d.PID()
		s.rest("adit device")
		s.carry("run to adit device", w.conf(t, "device", w.toDevice, w.device, toDeviceAddr, devicePort), lab.ServiceV4, lab.ServiceV4)
	}
	s.rest("adit serve")
	s.carry("run to wireguard-go", w.conf(t, "long", w.long, w.wireguard, longAddr, wireguardPort), lab.ServiceV4, lab.ServiceV4)
	s.carry("run to adit serve", w.conf(t, "serve", w.toServe, w.serve, toServeAddr, servePort), lab.ElsewhereV4, netip.MustParseAddr("10.97.0.1"))
	s.carry("wireguard-go to adit serve", "", lab.ElsewhereV4, netip.MustParseAddr("10.97.0.1"))
	return s
}

// carry starts traffic through a tunnel of adit run with a configuration, or
// plainly if there is none.
func (s *soak) carry(name, conf string, host, nameserver netip.Addr) {
	s.t.Helper()
	argv := []string{probe, "traffic", host.String(), nameserver.String(), "500ms"}
	if conf != "" {
		argv = append([]string{adit, "run", "--dns", nameserver.String(), "--wait-timeout", "60s", "-c", conf, "--"}, argv...)
	}
	p := suite.Start(s.t, s.w.Client, s.w.lab.User, argv...)
	first := p.Line(suite.Deadline)
	s.carriers[name], s.totals[name] = p, newTotals(first)
	s.reading.Go(func() {
		for l := range p.Lines() {
			s.totals[name].set(l)
		}
	})
	if conf != "" {
		for what, pid := range Adits(p.PID()) {
			s.watched[name+": "+what] = pid
		}
	}
}

// rest remembers what a process holds that has nothing to do.
func (s *soak) rest(name string) {
	s.t.Helper()
	for end := time.Now().Add(suite.Deadline); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		m, _ := Measure(s.watched[name])
		if _, counted := m["goroutines"]; counted {
			s.idle[name] = m
			return
		}
	}
	s.t.Fatalf("%s does not count its goroutines", name)
}

// givesBack wants a process to hold in time what it held before there was
// traffic, and a little.
func (s *soak) givesBack(name string, within time.Duration) {
	s.t.Helper()
	before, watched := s.idle[name]
	if !watched {
		return
	}
	const little = 3
	var now map[string]float64
	for end := time.Now().Add(within); time.Now().Before(end); time.Sleep(time.Second) {
		now, _ = Measure(s.watched[name])
		if now["descriptors"] <= before["descriptors"]+little && now["goroutines"] <= before["goroutines"]+little {
			s.t.Logf("%s has given everything back: %v descriptors, were %v; %v goroutines, were %v; heap %.0f KiB, was %.0f",
				name, now["descriptors"], before["descriptors"], now["goroutines"], before["goroutines"], now["heap"]/1024, before["heap"]/1024)
			return
		}
	}
	s.t.Errorf("%s holds %v descriptors and %v goroutines %v after the traffic, had %v and %v before it",
		name, now["descriptors"], now["goroutines"], within, before["descriptors"], before["goroutines"])
}

// run lets things happen for a while.
func (s *soak) run(span time.Duration) {
	every := min(5*time.Second, span/90)
	end := time.Now().Add(span)
	stop := make(chan struct{}) // closed at the end
	var short sync.WaitGroup
	short.Go(func() {
		s.short.again(s.w, s.w.conf(s.t, "short", s.w.short, s.w.wireguard, shortAddr, wireguardPort), stop)
	})
	events := s.events()
	told := time.Now()
	for n := 0; time.Now().Before(end); time.Sleep(every) {
		s.sample()
		if time.Since(told) >= 5*time.Minute {
			told = time.Now()
			s.tell()
		}
		// One thing happens in each part of a cycle.
		for ; n < int(time.Since(s.began)/(cycle/time.Duration(len(events)))); n++ {
			events[n%len(events)]()
		}
	}
	close(stop)
	short.Wait()
}

// tell says how it goes, to whoever waits for an hour.
func (s *soak) tell() {
	s.t.Logf("after %v:", time.Since(s.began).Round(time.Minute))
	for _, name := range slices.Sorted(maps.Keys(s.watched)) {
		m, _ := Measure(s.watched[name])
		s.t.Logf("  %-40s %6.0f KiB, %v descriptors, %v threads, %v goroutines", name, m["memory"]/1024, m["descriptors"], m["threads"], m["goroutines"])
	}
}

// events returns what happens in a cycle, in this order.
func (s *soak) events() []func() {
	restart := func() {
		s.w.peer.Kill()
		s.w.startPeer(s.t)
		s.restarts++
	}
	move := func() {
		from, to := lab.HostV4, netip.MustParsePrefix("10.77.0.99/24")
		if s.moved {
			from, to = to, from
		}
		s.check("move the client", s.w.Client.Do(func() error { return lab.Readdress(from, to) }))
		s.moved = !s.moved
		s.moves++
	}
	roam := func() {
		port := []int{wireguardPort + 100, wireguardPort}[s.roams%2]
		s.check("move the server", s.w.peer.Set(fmt.Sprintf("listen_port=%d", port)))
		s.roams++
	}
	change := func() {
		if s.watched["adit device"] != 0 {
			s.check("reconfigure the device", reconfigure())
			s.changes++
		}
	}
	return []func(){restart, change, roam, change, roam, change, move, change}
}

func (s *soak) check(what string, err error) {
	if err != nil {
		s.t.Errorf("%s: %v", what, err)
	}
}

// sample measures every process that is watched. One that has ended is fatal.
func (s *soak) sample() {
	s.t.Helper()
	at := time.Since(s.began)
	for name, pid := range s.watched {
		m, ok := Measure(pid)
		if !ok {
			s.t.Fatalf("%s, process %d, has ended", name, pid)
		}
		if s.samples[name] == nil {
			s.samples[name] = map[string][]Sample{}
		}
		for what, value := range m {
			s.samples[name][what] = append(s.samples[name][what], Sample{at, value})
		}
	}
}

// stopTraffic ends what carries traffic, and wants it to end well.
func (s *soak) stopTraffic() {
	for _, p := range s.carriers {
		p.EndInput()
	}
	s.reading.Wait()
	for _, name := range slices.Sorted(maps.Keys(s.carriers)) {
		s.carriers[name].WantEnd(suite.Deadline)
	}
}

// report says what happened and judges the slopes.
func (s *soak) report() {
	t := s.t
	t.Helper()
	packets, err := s.ear.Stop()
	if err != nil {
		t.Error(err)
	}
	t.Logf("soaked for %v", time.Since(s.began).Round(time.Second))
	for _, name := range slices.Sorted(maps.Keys(s.totals)) {
		t.Logf("%s: %v", name, s.totals[name].last())
		s.totals[name].judge(t, name)
	}
	t.Logf("%d short runs, %d failed: %q", s.short.ran, len(s.short.failed), s.short.failed)
	if n := len(s.short.failed); s.short.ran < 3 || n*10 > s.short.ran {
		t.Errorf("%d of %d short runs failed, want at most one in ten", n, s.short.ran)
	}
	t.Logf("%d restarts of the peer, %d moves of the client, %d of the server, %d reconfigurations of the device, %d initiations on the cable",
		s.restarts, s.moves, s.roams, s.changes, len(packets))
	s.slopes()
}

// slopes prints the slope of everything and fails where one is too steep.
func (s *soak) slopes() {
	t := s.t
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(s.samples)) {
		for _, what := range Measures {
			samples := s.samples[name][what]
			// What starts takes what it needs: a third of the time, a quarter of an
			// hour at most.
			warm := min(15*time.Minute, time.Since(s.began)/3)
			samples = slices.DeleteFunc(slices.Clone(samples), func(m Sample) bool { return m.At < warm })
			if len(samples) == 0 {
				continue // not known of this process
			}
			stretch := max(cycle, time.Since(s.began)/60/cycle*cycle)
			l := Fit(Floors(samples, stretch))
			unit, scale := "", 1.0
			if what == "memory" || what == "heap" {
				unit, scale = " KiB", 1.0/1024
			}
			t.Logf("%-40s %-12s now %8.0f%s, %+9.1f%s an hour, at least %+9.1f, limit %.0f",
				name, what, samples[len(samples)-1].Value*scale, unit, l.Slope*scale, unit, l.Sure*scale, limits[what]*scale)
			if math.IsNaN(l.Sure) {
				t.Errorf("%s: %s was measured too seldom for a slope: %d times", name, what, len(samples))
			}
			if l.Sure > limits[what] {
				t.Errorf("%s: %s grow by at least %.1f%s an hour, want at most %.1f", name, what, l.Sure*scale, unit, limits[what]*scale)
			}
		}
	}
}
