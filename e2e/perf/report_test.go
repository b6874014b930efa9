package main

import (
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestMedianIsTheMiddle(t *testing.T) {
	for _, c := range []struct {
		values           []float64
		median, min, max float64
	}{
		{[]float64{3}, 3, 3, 3},
		{[]float64{3, 1, 2}, 2, 1, 3},
		{[]float64{4, 1, 2, 3}, 2.5, 1, 4},
	} {
		got := spreadOf(c.values)
		if want := (spread{c.median, c.min, c.max, len(c.values)}); got != want {
			t.Errorf("spread of %v: got %+v, want %+v", c.values, got, want)
		}
	}
	if got := spreadOf(nil); got.N != 0 {
		t.Errorf("spread of nothing: got %+v", got)
	}
}

// tenfold has two sides in three rounds of a machine that gets slower and
// slower: figures move, ratios do not.
func tenfold() result {
	r := result{Against: wireguardGo}
	for i, slow := range []float64{1, 3, 10} {
		r.Samples = append(r.Samples,
			sample{Round: i + 1, Side: adit, Figures: figures{"cpu": 0.7 * slow, "rss_all": 50}},
			sample{Round: i + 1, Side: wireguardGo, Figures: figures{"cpu": slow, "rss_all": 200}})
	}
	return r
}

func TestRatiosAreOfTheSameRound(t *testing.T) {
	r := tenfold()
	r.conclude([]string{adit, wireguardGo}, nil)
	got := r.Summaries[0].Ratios["cpu"]
	if math.Abs(got.Min-0.7) > 1e-9 || math.Abs(got.Max-0.7) > 1e-9 || got.N != 3 {
		t.Errorf("got %+v, want 0.7 in all three rounds", got)
	}
	if r.Summaries[1].Ratios != nil {
		t.Errorf("the reference is compared with itself: %v", r.Summaries[1].Ratios)
	}
}

func TestFailedMeasurementIsCountedAndNotCompared(t *testing.T) {
	r := tenfold()
	r.Samples[1] = sample{Round: 1, Side: wireguardGo, Error: "it did not start"}
	r.conclude([]string{adit, wireguardGo}, []gate{cpuGate(wireguardGo, 0.72, 0.55)})
	if got := r.Summaries[1].Failed; got != 1 {
		t.Errorf("got %d failures, want 1", got)
	}
	if got := r.Verdicts[0].Value.N; got != 2 {
		t.Errorf("the gate has seen %d rounds, want 2", got)
	}
	if got := (&report{Results: []result{r}}).failures(); got != 1 {
		t.Errorf("the report has %d failures, want 1", got)
	}
}

func TestGateFailsOnlyBeyondTheSpread(t *testing.T) {
	upper := gate{side: adit, figure: "cpu", must: 0.72, aim: 0.55}
	lower := gate{side: adit, figure: "gbps", must: 1.15, aim: 1.3, atLeast: true}
	for _, c := range []struct {
		name      string
		g         gate
		values    []float64
		must, aim string
	}{
		{"all rounds within", upper, []float64{0.5, 0.5, 0.6}, met, met},
		{"the median within", upper, []float64{0.6, 0.7, 0.9}, met, notReached},
		{"one round within", upper, []float64{0.7, 0.8, 0.9}, withinNoise, notReached},
		{"no round within", upper, []float64{0.73, 0.8, 0.9}, notMet, notReached},
		{"just so", upper, []float64{0.72}, met, notReached},
		{"all rounds above", lower, []float64{1.3, 1.4, 1.5}, met, met},
		{"one round above", lower, []float64{1.0, 1.1, 1.2}, withinNoise, notReached},
		{"no round above", lower, []float64{1.0, 1.1}, notMet, notReached},
		{"nothing", upper, nil, notMeasured, notMeasured},
	} {
		v := c.g.judge(c.values)
		if v.IsMet != c.must || v.IsAim != c.aim {
			t.Errorf("%s: got %q and %q, want %q and %q", c.name, v.IsMet, v.IsAim, c.must, c.aim)
		}
		if got, want := v.failed(), c.must == notMet; got != want {
			t.Errorf("%s: failed is %v", c.name, got)
		}
	}
}

func TestGateMayHaveOneTargetOnly(t *testing.T) {
	v := gate{side: adit, figure: "gbps", atLeast: true, must: 1, aim: math.NaN()}.judge([]float64{1.2})
	if v.Aim != nil || v.IsAim != nothing || v.IsMet != met {
		t.Errorf("got %+v", v)
	}
}

func TestGateMaySubtract(t *testing.T) {
	r := result{Samples: []sample{
		{Round: 1, Side: "bare", Figures: figures{"p50": 40}},
		{Round: 1, Side: adit, Figures: figures{"p50": 130}},
	}}
	r.conclude([]string{adit, "bare"}, []gate{{side: adit, figure: "p50", against: "bare", added: true, must: 150, aim: 75}})
	if v := r.Verdicts[0]; v.Value.Median != 90 || v.IsMet != met || v.IsAim != notReached {
		t.Errorf("got %+v, want 90", v)
	}
}

func TestGateOfASideThatIsNotMeasuredIsLeftOut(t *testing.T) {
	r := tenfold()
	r.conclude([]string{wireguardGo}, []gate{peakGate})
	if len(r.Verdicts) != 0 {
		t.Errorf("got %v", r.Verdicts)
	}
}

func TestReportHasALineForEachSideAndGate(t *testing.T) {
	r := tenfold()
	r.Name, r.About = "x-case", "something"
	r.conclude([]string{adit, wireguardGo}, []gate{cpuGate(wireguardGo, 0.72, 0.55), peakGate})
	var text strings.Builder
	writeResult(&text, r, false)
	document := filepath.Join(t.TempDir(), "performance.md")
	if err := os.WriteFile(document, []byte("# By hand\n\n"+mark+"the last run\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := (&report{Results: []result{r}}).write(options{markdown: document}); err != nil {
		t.Fatal(err)
	}
	markdown, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	for _, got := range []string{text.String(), string(markdown)} {
		for _, want := range []string{
			"x-case", "something", "CPU-s/GiB", "0.70 (0.70–0.70)", "CPU-s/GiB, adit ÷ wireguard-go", "≤ 0.72", "peak RSS of all MB of adit",
		} {
			if !strings.Contains(got, want) {
				t.Errorf("no %q in\n%s", want, got)
			}
		}
	}
	if got := string(markdown); !strings.HasPrefix(got, "# By hand\n\n"+mark) || strings.Contains(got, "the last run") {
		t.Errorf("what was written by hand is not kept, or the last run is:\n%s", got)
	}
}

func TestReportSparesADocumentWithoutItsMark(t *testing.T) {
	document := filepath.Join(t.TempDir(), "README.md")
	for _, text := range []string{"", "# By hand\n"} {
		if err := os.WriteFile(document, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		for range 2 { // what it has written it may write again
			err := (&report{}).write(options{markdown: document})
			if refused := err != nil; refused != (text != "") {
				t.Errorf("into %q: got %v", text, err)
			}
		}
		if got, _ := os.ReadFile(document); !strings.HasPrefix(string(got), text) {
			t.Errorf("%q became %q", text, got)
		}
	}
}

func TestRowsOfATableHaveTheSameLength(t *testing.T) {
	r := tenfold()
	r.Samples[0].Figures["p99"] = 7 // of one side in one round
	r.conclude([]string{adit, wireguardGo}, nil)
	rows := r.rows()
	for _, row := range rows {
		if len(row) != len(rows[0]) {
			t.Errorf("got %d cells, want %d: %q", len(row), len(rows[0]), row)
		}
	}
}

func TestEveryTrialIsWellFormed(t *testing.T) {
	var names []string
	for _, x := range trials() {
		names = append(names, x.name)
		if x.about == "" || x.measure == nil || len(x.sides) == 0 {
			t.Errorf("%s says or does nothing", x.name)
		}
		if x.against != "" && !slices.Contains(x.sides, x.against) {
			t.Errorf("%s is compared with %q, which is not measured", x.name, x.against)
		}
		for _, g := range x.gates {
			figureOf(g.figure)
			if !slices.Contains(x.sides, g.side) || g.against != "" && !slices.Contains(x.sides, g.against) {
				t.Errorf("%s: nobody measures what is in %q", x.name, g)
			}
			if (g.aim < g.must) == g.atLeast && g.aim == g.aim && g.aim != g.must {
				t.Errorf("%s: %v: the aim %v is easier than the must %v", x.name, g, g.aim, g.must)
			}
		}
	}
	slices.Sort(names)
	if len(slices.Compact(slices.Clone(names))) != len(names) {
		t.Errorf("two trials have one name: %q", names)
	}
}

func TestContendersChooseTheirVariantsToo(t *testing.T) {
	all := []trial{
		{name: "one", sides: []string{adit, wireguardGo}},
		{name: "two", sides: []string{"adit 8 flows", tailscale}},
		{name: "three", sides: []string{tailscale}},
	}
	got := choose(all, regexp.MustCompile(""), []string{adit})
	if len(got) != 2 || !slices.Equal(got[0].sides, []string{adit}) || !slices.Equal(got[1].sides, []string{"adit 8 flows"}) {
		t.Errorf("got %+v", got)
	}
	if got := choose(all, regexp.MustCompile("^t"), nil); len(got) != 2 || got[1].name != "three" {
		t.Errorf("got %+v", got)
	}
}
