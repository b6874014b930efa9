package soak

import (
	"math"
	"slices"
	"time"
)

// A Sample is what something measured at one time.
type Sample struct {
	At    time.Duration // since the beginning
	Value float64
}

// A Line is the straight line through samples.
type Line struct {
	Start float64 // at time zero
	Slope float64 // per hour
	Sure  float64 // the slope is at least so much, with 99 % confidence
}

// Floors returns the least of the samples of each stretch of time. What a
// process holds goes up and down with its work; what it has lost for good shows
// at the quietest moments.
func Floors(samples []Sample, stretch time.Duration) (floors []Sample) {
	for len(samples) > 0 {
		end := samples[0].At + stretch
		n := slices.IndexFunc(samples, func(s Sample) bool { return s.At >= end })
		if n < 0 {
			n = len(samples)
		}
		if n == len(samples) && len(floors) > 0 && samples[n-1].At-samples[0].At < stretch/2 {
			break // too short to be compared
		}
		least := slices.MinFunc(samples[:n], func(a, b Sample) int {
			switch {
			case a.Value < b.Value:
				return -1
			case a.Value > b.Value:
				return 1
			}
			return 0
		})
		floors = append(floors, Sample{samples[0].At + stretch/2, least.Value})
		samples = samples[n:]
	}
	return floors
}

// Fit lays a line through at least three samples by least squares. How sure it
// is comes from how far off they are, which is taken to be independent from one
// to the next.
func Fit(samples []Sample) Line {
	n := float64(len(samples))
	if n < 3 {
		return Line{Slope: math.NaN(), Sure: math.NaN()}
	}
	var meanX, meanY float64
	for _, s := range samples {
		meanX += s.At.Hours() / n
		meanY += s.Value / n
	}
	var xx, xy float64
	for _, s := range samples {
		dx := s.At.Hours() - meanX
		xx += dx * dx
		xy += dx * (s.Value - meanY)
	}
	l := Line{Slope: xy / xx}
	l.Start = meanY - l.Slope*meanX
	var off float64
	for _, s := range samples {
		e := s.Value - l.Start - l.Slope*s.At.Hours()
		off += e * e
	}
	l.Sure = l.Slope - student99(len(samples)-2)*math.Sqrt(off/(n-2)/xx)
	return l
}

// student99 returns the one-sided 99 % quantile of Student's t with that many
// degrees of freedom, from any table of it.
func student99(freedom int) float64 {
	table := []float64{31.82, 6.965, 4.541, 3.747, 3.365, 3.143, 2.998, 2.896, 2.821, 2.764}
	if freedom <= len(table) {
		return table[freedom-1]
	}
	return 2.326 + 4.5/float64(freedom) // a little too much from 11 on
}
