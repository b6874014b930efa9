package main

import (
	"fmt"
	"math"
	"net/netip"
	"strings"

	"adit/e2e/lab"
	"adit/e2e/peer"
)

// What a tunnel may have much of. None of it is used by the stream but the one
// that every tunnel has.
const (
	nFlows    = 1000
	nPeers    = 1000
	nPrefixes = 100_000
)

// morePeers is configuration with many peers more, each with a prefix.
func morePeers(n int) string {
	var b strings.Builder
	a := netip.MustParseAddr("10.64.0.0")
	for range n {
		fmt.Fprintf(&b, "[Peer]\nPublicKey = %s\nAllowedIPs = %v/32\n", peer.NewKey().Public, a)
		a = a.Next()
	}
	return b.String()
}

// morePrefixes is configuration with one peer more, of many prefixes, two of
// five IPv4: that is the shortest text, and a file may have no more than a
// mebibyte.
func morePrefixes(n int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "[Peer]\nPublicKey = %s\nAllowedIPs = ", peer.NewKey().Public)
	add := func(first string, n int) {
		for a := netip.MustParseAddr(first); n > 0; n-- {
			b.WriteString(a.String())
			b.WriteByte(',')
			a = a.Next()
		}
	}
	add("1.0.0.1", n*2/5)
	add("2::1", n-n*2/5-1)
	b.WriteString("3::3\n")
	return b.String()
}

// flat is the gate of all that grows.
func flat(side string) gate {
	return gate{side: side, figure: "cpu", against: adit, must: 1.15, aim: math.NaN()}
}

// growthTrials compare adit with itself, as the work grows.
func growthTrials() (all []trial) {
	for _, way := range []string{"up", "down"} {
		streams := func(n int) load {
			l := load{to: lab.ServiceV4, up: n, own: true}
			if way == "down" {
				l.up, l.down = 0, n
			}
			return l
		}
		all = append(all, trial{
			name: "flows-" + way, about: fmt.Sprintf("1, 8 and %d TCP streams, %sload", nFlows, way), against: adit,
			sides: []string{adit, "adit 8 flows", "adit 1000 flows", "wireguard-go 1 flow", "wireguard-go 1000 flows"},
			gates: []gate{flat("adit 1000 flows")},
			measure: func(w *world, side string) (figures, error) {
				n := 1
				fmt.Sscanf(side[strings.IndexByte(side+" ", ' '):], "%d", &n)
				return w.streamWith(side, terms{}, streams(n))
			},
		})
		all = append(all, trial{
			name: "routes-" + way, about: fmt.Sprintf("one TCP stream, %sload; of %d peers; beside %d prefixes", way, nPeers, nPrefixes),
			against: adit, sides: []string{adit, "adit 1000 peers", "adit 100000 prefixes"},
			gates: []gate{flat("adit 1000 peers"), flat("adit 100000 prefixes")},
			measure: func(w *world, side string) (figures, error) {
				var t terms
				switch side {
				case "adit 1000 peers":
					t.more = morePeers(nPeers - 1)
				case "adit 100000 prefixes":
					t.more = morePrefixes(nPrefixes)
				}
				return w.streamWith(side, t, streams(1))
			},
		})
	}
	return all
}
