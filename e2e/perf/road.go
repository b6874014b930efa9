package main

import (
	"math"
	"time"

	"adit/e2e/lab"
)

// roadTrials are streams over a way that is long and bad. There are eight of
// them, so that the luck of one is not what is measured.
func roadTrials() []trial {
	over := func(r road, l load) func(*world, string) (figures, error) {
		return func(w *world, side string) (figures, error) {
			if err := w.farEnd(wireguardGo); err != nil {
				return nil, err
			}
			x, err := w.relayed(r)
			if err != nil {
				return nil, err
			}
			defer x.close()
			s, err := w.warm(side, terms{endpoint: x.address})
			if err != nil {
				return nil, err
			}
			defer s.close()
			return w.stream(s, l)
		}
	}
	far := road{20 * time.Millisecond, 0.001}
	noSlower := gate{side: adit, figure: "gbps", against: wireguardGo, atLeast: true, must: 1, aim: math.NaN()}
	return []trial{
		{
			name: "delay20-loss0.1-up", about: "eight TCP streams, upload, 20 ms there and back, 0.1 % lost each way",
			sides: contenders, against: wireguardGo, measure: over(far, load{to: lab.ServiceV4, up: 8}),
		},
		{
			name: "delay20-loss0.1-down", about: "eight TCP streams, download, 20 ms there and back, 0.1 % lost each way",
			sides: contenders, against: wireguardGo, measure: over(far, load{to: lab.ServiceV4, down: 8}),
		},
		{
			name: "delay30-loss1-down", about: "eight TCP streams, download, 30 ms there and back, 1 % lost each way",
			sides: contenders, against: wireguardGo,
			measure: over(road{30 * time.Millisecond, 0.01}, load{to: lab.ServiceV4, down: 8}), gates: []gate{noSlower},
		},
	}
}
