package wg

import (
	"bytes"
	"encoding/binary"
	"time"
)

// A timestamp is a TAI64N label: 8 bytes of seconds and 4 of nanoseconds, both
// big-endian, so that later labels compare greater as bytes (§5.1).
type timestamp [12]byte

const (
	// taiBase is the label of 1970-01-01 00:00:00 TAI plus the ten seconds
	// that TAI was ahead then. Leap seconds since are left out, as every
	// other implementation leaves them out: labels must compare across them.
	taiBase = 1<<62 + 10

	// timestampUnit hides how precise our clock is: nanoseconds are rounded
	// down to it. The kernel takes the power of two below 20 ms (noise.c,
	// tai64n_now).
	timestampUnit = 1 << 24
)

// newTimestamp returns the label of t, or, when t is not later than last, the
// label one unit after last: a clock that was set back, or a machine without
// one, must not lock us out of a peer that remembers our last label.
func newTimestamp(t time.Time, last timestamp) timestamp {
	ts := makeTimestamp(taiBase+uint64(t.Unix()), uint32(t.Nanosecond())&^(timestampUnit-1))
	if ts.later(last) {
		return ts
	}
	sec, nsec := binary.BigEndian.Uint64(last[:8]), binary.BigEndian.Uint32(last[8:])
	nsec = nsec&^(timestampUnit-1) + timestampUnit
	if nsec >= uint32(time.Second) {
		sec, nsec = sec+1, 0
	}
	return makeTimestamp(sec, nsec)
}

func makeTimestamp(sec uint64, nsec uint32) (ts timestamp) {
	binary.BigEndian.PutUint64(ts[:8], sec)
	binary.BigEndian.PutUint32(ts[8:], nsec)
	return ts
}

// later reports whether ts is strictly later than other.
func (ts timestamp) later(other timestamp) bool { return bytes.Compare(ts[:], other[:]) > 0 }
