//go:build !linux

package wg

// newClock returns the best clock there is.
func newClock() clock { return newGoClock() }
