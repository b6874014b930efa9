package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
)

// A run is one stream through one client.
type run struct {
	Round  int     `json:"round"`
	Client string  `json:"client"`
	Down   bool    `json:"down"`
	GiB    float64 `json:"gib"`
	Gbps   float64 `json:"gbit_per_s"`
	User   float64 `json:"user_cpu_s_per_gib"`
	System float64 `json:"system_cpu_s_per_gib"`
	CPU    float64 `json:"cpu_s_per_gib"`
}

// newRun reads the stream's result; used is the tunnel's CPU time.
func newRun(text []byte, used cpu) (run, error) {
	var s streamResult
	if err := json.Unmarshal(text, &s); err != nil {
		return run{}, fmt.Errorf("the stream's result: %w: %.200q", err, text)
	}
	if s.Error != "" {
		return run{}, errors.New("the stream: " + s.Error)
	}
	got := s.End.Received
	if got.Bytes == 0 || got.Seconds == 0 {
		return run{}, errors.New("the stream carried nothing")
	}
	gib := got.Bytes / (1 << 30)
	return run{
		GiB: gib, Gbps: got.Bytes * 8 / got.Seconds / 1e9,
		User: used.user / gib, System: used.system / gib, CPU: (used.user + used.system) / gib,
	}, nil
}

func way(down bool) string {
	if down {
		return "down"
	}
	return "up"
}

func (r run) String() string {
	return fmt.Sprintf("round %d  %-13s %-5s %5.2f Gbit/s  %5.2f CPU-s/GiB (user %.2f + system %.2f)",
		r.Round, r.Client, way(r.Down), r.Gbps, r.CPU, r.User, r.System)
}

// A report is all of them and what they come to.
type report struct {
	Stream  string    `json:"stream"`
	Seconds int       `json:"seconds"`
	Runs    []run     `json:"runs"`
	Medians []run     `json:"medians"`
	Ratios  []ratioOf `json:"ratios"`

	StartMillis float64 `json:"start_ms"` // median of 20, "run -- true" from exec to exit
}

// A ratioOf compares adit with wireguard-go: below 1 adit needs less CPU, above 1
// it carries more.
type ratioOf struct {
	Down       bool    `json:"down"`
	CPU        float64 `json:"cpu"`
	Throughput float64 `json:"throughput"`
}

// print adds the medians and writes everything.
func (r *report) print(asJSON bool, w io.Writer) error {
	for _, down := range []bool{false, true} {
		a, g := r.median("adit", down), r.median("wireguard-go", down)
		r.Medians = append(r.Medians, a, g)
		r.Ratios = append(r.Ratios, ratioOf{down, a.CPU / g.CPU, a.Gbps / g.Gbps})
	}
	if asJSON {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(r)
	}
	for _, m := range r.Medians {
		fmt.Fprintf(w, "median   %-13s %-5s %5.2f Gbit/s  %5.2f CPU-s/GiB\n", m.Client, way(m.Down), m.Gbps, m.CPU)
	}
	for _, x := range r.Ratios {
		fmt.Fprintf(w, "adit / wireguard-go, %-5s CPU per GiB %.2f, throughput %.2f\n", way(x.Down)+":", x.CPU, x.Throughput)
	}
	fmt.Fprintf(w, "adit run -- true, median of 20: %.1f ms\n", r.StartMillis)
	return nil
}

// median returns the median of each figure over the rounds.
func (r *report) median(client string, down bool) run {
	m := run{Client: client, Down: down}
	of := func(value func(run) float64) float64 {
		var v []float64
		for _, x := range r.Runs {
			if x.Client == client && x.Down == down {
				v = append(v, value(x))
			}
		}
		slices.Sort(v)
		return v[len(v)/2]
	}
	m.GiB = of(func(x run) float64 { return x.GiB })
	m.Gbps = of(func(x run) float64 { return x.Gbps })
	m.User = of(func(x run) float64 { return x.User })
	m.System = of(func(x run) float64 { return x.System })
	m.CPU = of(func(x run) float64 { return x.CPU })
	return m
}
