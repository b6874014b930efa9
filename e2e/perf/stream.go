package main

import (
	"errors"
	"net/netip"

	"adit/e2e/lab"
)

// A load is streams of TCP through the tunnel.
type load struct {
	to       netip.Addr
	up, down int  // how many
	own      bool // made by ourselves, even if iperf3 is there
}

// stream has the load carried and returns what it cost. iperf3 makes it, where
// it is installed and the streams all go in one direction.
func (w *world) stream(s *session, l load) (figures, error) {
	if err := w.prepare(s, l); err != nil {
		return nil, err
	}
	before, err := s.usage()
	if err != nil {
		return nil, err
	}
	bytes, seconds, err := w.carry(s, l)
	if err != nil {
		return nil, err
	}
	after, err := s.usage()
	if err != nil {
		return nil, err
	}
	if bytes == 0 || seconds == 0 {
		return nil, errors.New("nothing has arrived")
	}
	return s.costs(bytes, seconds, after.since(before)), nil
}

// streamWith does so through a new tunnel of the contender's.
func (w *world) streamWith(side string, t terms, l load) (figures, error) {
	s, err := w.tunnel(side, t)
	if err != nil {
		return nil, err
	}
	defer s.close()
	return w.stream(s, l)
}

// costs are the figures of a stream of bytes.
func (s *session) costs(bytes, seconds float64, used spent) figures {
	gib := bytes / (1 << 30)
	return figures{
		"gbps": bytes * 8 / seconds / 1e9,
		"cpu":  used.cpu() / gib, "user": used.user / gib, "system": used.system / gib,
		"switches": used.switches / (bytes / (1 << 20)),
		"rss":      peakOf(s.main), "rss_all": s.peak.mb(),
	}
}

// isOurs reports whether iperf3 cannot make the load.
func (w *world) isOurs(l load) bool { return w.iperf == "" || l.own || l.up > 0 && l.down > 0 }

// prepare makes the connections of a load of our own: a thousand take a while.
func (w *world) prepare(s *session, l load) error {
	if !w.isOurs(l) {
		return nil
	}
	_, err := s.tell(order{Do: "connect", Address: pumpAddress(l.to), Flows: l.up, Back: l.down})
	return err
}

// carry carries the load, once it is prepared.
func (w *world) carry(s *session, l load) (bytes, seconds float64, err error) {
	if w.isOurs(l) {
		a, err := s.tell(order{Do: "stream", Flows: l.up, Back: l.down, Seconds: w.seconds})
		return a.Bytes, a.Seconds, err
	}
	end, err := w.serveIperf()
	if err != nil {
		return 0, 0, err
	}
	defer end()
	a, err := s.tell(order{Do: "run", Argv: w.iperfArgv(l.to, l.up+l.down, l.down > 0)})
	if err != nil {
		return 0, 0, err
	}
	return parseIperf([]byte(a.Text))
}

// streamTrials are those of TCP over the bare cable.
func streamTrials() []trial {
	plain := func(l load, t terms) func(*world, string) (figures, error) {
		return func(w *world, side string) (figures, error) { return w.streamWith(side, t, l) }
	}
	v4, v6 := lab.ServiceV4, lab.ServiceV6
	all := []trial{
		{name: "tcp-up", about: "one TCP stream, upload", measure: plain(load{to: v4, up: 1}, terms{}),
			gates: streamGates(0.72, 0.55)},
		{name: "tcp-down", about: "one TCP stream, download", measure: plain(load{to: v4, down: 1}, terms{}),
			gates: streamGates(0.64, 0.55)},
		{name: "tcp8-up", about: "eight TCP streams, upload", measure: plain(load{to: v4, up: 8}, terms{}),
			gates: streamGates(0.75, 0.60)},
		{name: "tcp8-down", about: "eight TCP streams, download", measure: plain(load{to: v4, down: 8}, terms{}),
			gates: streamGates(0.75, 0.60)},
		{name: "tcp-bidir", about: "one TCP stream up and one down at once", measure: plain(load{to: v4, up: 1, down: 1}, terms{}),
			gates: streamGates(0.75, 0.60)},
		{name: "tcp6-up", about: "one TCP stream, upload, IPv6 inside", measure: plain(load{to: v6, up: 1}, terms{}),
			gates: streamGates(0.75, 0.60)},
		{name: "tcp6-down", about: "one TCP stream, download, IPv6 inside", measure: plain(load{to: v6, down: 1}, terms{}),
			gates: streamGates(0.75, 0.60)},
		{name: "veth-up", about: "one TCP stream, upload; adit without /dev/net/tun", measure: plain(load{to: v4, up: 1}, terms{veth: true}),
			sides: []string{adit, wireguardGo}, gates: []gate{cpuGate(wireguardGo, 0.85, 0.65), peakGate}},
		{name: "veth-down", about: "one TCP stream, download; adit without /dev/net/tun", measure: plain(load{to: v4, down: 1}, terms{veth: true}),
			sides: []string{adit, wireguardGo}, gates: []gate{cpuGate(wireguardGo, 0.85, 0.65), peakGate}},
	}
	for i := range all {
		all[i].against = wireguardGo
		if all[i].sides == nil {
			all[i].sides = contenders
		}
	}
	return all
}

// streamGates are the targets of every stream against the same far end; must
// and aim are those of the processor time.
func streamGates(must, aim float64) []gate {
	return []gate{
		cpuGate(wireguardGo, must, aim),
		cpuGate(tailscale, 0.75, 0.55),
		{side: adit, figure: "gbps", against: wireguardGo, atLeast: true, must: 1.15, aim: 1.3},
		peakGate,
	}
}

func cpuGate(against string, must, aim float64) gate {
	return gate{side: adit, figure: "cpu", against: against, must: must, aim: aim}
}

var peakGate = gate{side: adit, figure: "rss_all", must: 72, aim: 40}
