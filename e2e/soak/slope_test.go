package soak

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// line returns a sample a minute along a line, with noise.
func line(n int, start, slope, noise float64) (list []Sample) {
	random := rand.New(rand.NewPCG(1, 2))
	for i := range n {
		at := time.Duration(i) * time.Minute
		list = append(list, Sample{at, start + slope*at.Hours() + noise*random.NormFloat64()})
	}
	return list
}

func TestFitFindsTheSlope(t *testing.T) {
	l := Fit(line(60, 100, 12, 0))
	if math.Abs(l.Slope-12) > 1e-6 || math.Abs(l.Start-100) > 1e-6 || math.Abs(l.Sure-12) > 1e-6 {
		t.Errorf("got %+v, want slope 12 from 100, and sure of it", l)
	}
}

func TestFitIsSureOfALeakAndNotOfNoise(t *testing.T) {
	if l := Fit(line(60, 100, 12, 1)); l.Sure < 8 || l.Sure > 12 {
		t.Errorf("a leak of 12 an hour under noise: got %+v", l)
	}
	if l := Fit(line(60, 100, 0, 5)); l.Sure > 0 {
		t.Errorf("noise alone: got %+v, want no slope to be sure of", l)
	}
	if l := Fit(line(4, 100, 0, 5)); l.Sure > 0 {
		t.Errorf("four samples of noise: got %+v, want no slope to be sure of", l)
	}
}

func TestFloorsAreTheQuietestMoments(t *testing.T) {
	var list []Sample
	for i := range 35 {
		list = append(list, Sample{time.Duration(i) * time.Second, float64(i%10 + 3)})
	}
	floors := Floors(list, 10*time.Second)
	if len(floors) != 3 {
		t.Fatalf("got %d floors %v, want 3: the rest is too short", len(floors), floors)
	}
	for i, f := range floors {
		if f.Value != 3 || f.At != time.Duration(10*i+5)*time.Second {
			t.Errorf("floor %d is %v", i, f)
		}
	}
}
