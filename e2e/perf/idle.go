package main

import (
	"fmt"
	"strings"
	"time"

	"adit/e2e/lab"
)

// idleKeepalive is the interval of the trial with keepalives, in seconds: short,
// so that a short trial sees some.
const idleKeepalive = 3

// idle lets a tunnel be that has carried something, and counts who wakes up.
func (w *world) idle(side string) (figures, error) {
	var t terms
	if strings.HasSuffix(side, "keepalive") {
		t.keepalive = idleKeepalive
	}
	if err := w.farEnd(wireguardGo); err != nil {
		return nil, err
	}
	s, err := w.open(side, t)
	if err != nil {
		return nil, err
	}
	defer s.close()
	s.slow.Reset(w.limit() + w.quiet)
	if _, err := s.tell(order{Do: "ping", Address: lab.ServiceV4.String(), Seconds: 0.1, Rate: pingRate}); err != nil {
		return nil, err
	}
	time.Sleep(time.Second)
	before, err := s.usage()
	if err != nil {
		return nil, err
	}
	time.Sleep(w.quiet)
	after, err := s.usage()
	if err != nil {
		return nil, err
	}
	n := after.since(before).switches
	f := figures{"wakeups": n, "rss_rest": sumOf(s.all, restOf)}
	if t.keepalive > 0 {
		f["per_interval"] = n / (w.quiet.Seconds() / float64(t.keepalive))
	}
	return f, nil
}

func idleTrials() []trial {
	return []trial{{
		name:  "idle",
		about: fmt.Sprintf("an idle tunnel for as long as -idle says (10 minutes in the target); with a keepalive every %d s", idleKeepalive),
		sides: []string{adit, "adit keepalive", wireguardGo}, rounds: 1, measure: (*world).idle,
		gates: []gate{
			{side: adit, figure: "wakeups", must: 20, aim: 0},
			{side: "adit keepalive", figure: "per_interval", must: 3, aim: 1},
			{side: adit, figure: "rss_rest", must: 32, aim: 20},
		},
	}}
}
