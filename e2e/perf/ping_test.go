package main

import "testing"

func TestPercentileIsTheValueBelowWhichSoManyLie(t *testing.T) {
	var values []float64
	for i := range 200 {
		values = append(values, float64(199-i))
	}
	for p, want := range map[float64]float64{50: 100, 99: 198, 100: 199, 0: 0} {
		if got := percentile(values, p); got != want {
			t.Errorf("p%v: got %v, want %v", p, got, want)
		}
	}
	if got := percentile([]float64{7}, 99); got != 7 {
		t.Errorf("p99 of one value: got %v, want 7", got)
	}
}
