package main

import (
	"fmt"
	"math"
	"net/netip"
	"os"
	"strings"
	"time"

	"adit/e2e/lab"
)

// The sides of these trials: the command's sockets are handed out by adit, or the
// agent is the tunnel and there is nothing to intercept, or there is no adit.
const (
	intercepted = adit + " seccomp"
	inProcess   = adit + " socket"
	blockingOne = intercepted + ", blocking"
	pollingOne  = intercepted + ", nonblocking"
	answeredOne = intercepted + ", answered by adit"
	plainly     = "plain"
)

// ownNameserver is answered by adit itself: no packet leaves for it.
var ownNameserver = netip.MustParseAddrPort("127.0.0.53:53")

// Of one measurement.
const (
	dials = 400
	calls = 20000
)

// interceptTerms are how the tunnel of a side is opened.
func interceptTerms(side string) terms {
	if side == inProcess {
		return terms{socket: true}
	}
	return terms{mode: "seccomp"}
}

// dialCost measures how long it takes until a connection is there and, of what is
// intercepted, how much of that adit was not busy with making it in the tunnel. That
// is what intercepting adds: the sides differ by more, and by what else there is for the
// processors to do.
func (w *world) dialCost(side string) (figures, error) {
	t := interceptTerms(side)
	o := order{Do: "dial", Address: netip.AddrPortFrom(lab.ServiceV4, pumpPort).String(), Count: dials}
	switch side {
	case blockingOne:
		o.How = dialBlocking
	case pollingOne:
		o.How = dialPolling
	case answeredOne:
		// What a connect costs where nobody else has anything to do.
		o.How, o.Address = dialBlocking, ownNameserver.String()
	}
	if o.How != dialItself {
		var err error
		if t.log, err = w.lab.User.WriteFile("perf.log", "", 0o600); err != nil {
			return nil, err
		}
	}
	s, err := w.tunnel(adit, t)
	if err != nil {
		return nil, err
	}
	a, err := s.tell(o)
	s.close()
	if err != nil {
		return nil, err
	}
	f := figures{"dial": spreadOf(a.Micros).Median}
	if t.log == "" {
		return f, nil
	}
	inside, err := dialsIn(t.log, o.Address)
	if err != nil {
		return nil, err
	}
	if len(inside) < len(a.Micros) {
		return nil, fmt.Errorf("adit's log has %d connections, not %d", len(inside), len(a.Micros))
	}
	inside = inside[len(inside)-len(a.Micros):]
	added := make([]float64, len(inside))
	for i, took := range a.Micros {
		added[i] = took - inside[i]
	}
	f["added"] = spreadOf(added).Median
	return f, nil
}

// dialsIn returns how long adit's connections to an address took in the tunnel, in µs,
// by its log.
func dialsIn(file, to string) ([]float64, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var all []float64
	for line := range strings.Lines(string(text)) {
		_, fields, is := strings.Cut(line, "connect addr="+to+" took=")
		if !is {
			continue
		}
		took, err := time.ParseDuration(strings.Fields(fields)[0])
		if err != nil {
			return nil, fmt.Errorf("adit's log: %w", err)
		}
		all = append(all, float64(took.Nanoseconds())/1e3)
	}
	return all, nil
}

// callCost measures calls that should not notice adit, or hardly.
func (w *world) callCost(side string) (figures, error) {
	var a answer
	o := order{Do: "calls", Count: calls}
	if side == plainly {
		agent, err := w.local()
		if err != nil {
			return nil, err
		}
		defer agent.dismiss()
		if a, err = agent.tell(o); err != nil {
			return nil, err
		}
	} else {
		s, err := w.tunnel(adit, interceptTerms(side))
		if err != nil {
			return nil, err
		}
		defer s.close()
		if a, err = s.tell(o); err != nil {
			return nil, err
		}
	}
	f := figures{}
	for name, micros := range a.Calls {
		f[name] = micros
	}
	return f, nil
}

// seccompTrials are what the mode without a namespace costs.
func seccompTrials() []trial {
	var all []trial
	for _, c := range []struct {
		way      string
		up, down int
	}{{"up", 1, 0}, {"down", 0, 1}} {
		all = append(all, trial{
			name: "seccomp-" + c.way, about: "one TCP stream, " + c.way + "load, in seccomp mode, and of a socket in the tunnel's own process",
			sides: []string{intercepted, inProcess}, against: inProcess,
			measure: func(w *world, side string) (figures, error) {
				return w.heldStream(adit, interceptTerms(side), c.up, c.down)
			},
			gates: []gate{{side: intercepted, figure: "gbps", against: inProcess, atLeast: true, must: 0.8, aim: 1}},
		})
	}
	less := func(side, figure, against string, must float64) gate {
		return gate{side: side, figure: figure, against: against, added: true, must: must, aim: math.NaN()}
	}
	return append(all,
		trial{
			name: "seccomp-connect", about: "until a TCP connection is there, in seccomp mode, and of a socket in the tunnel's own process",
			sides: []string{inProcess, answeredOne, blockingOne, pollingOne}, against: inProcess, measure: (*world).dialCost,
			gates: []gate{
				{side: answeredOne, figure: "added", must: 100, aim: math.NaN()},
				{side: blockingOne, figure: "added", must: 100, aim: math.NaN()}, {side: pollingOne, figure: "added", must: 350, aim: math.NaN()},
			},
		},
		trial{
			name: "seccomp-calls", about: "system calls that have nothing to do with the tunnel, in seccomp mode and without adit",
			sides: []string{intercepted, plainly}, against: plainly, measure: (*world).callCost,
			gates: []gate{
				less(intercepted, "getppid", plainly, 0.5), less(intercepted, "rw", plainly, 0.5), less(intercepted, "sendmsg", plainly, 15),
				less(intercepted, "recvmsg", plainly, 15),
			},
		},
	)
}
