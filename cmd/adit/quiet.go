//go:build adit_quiet

package main

import (
	"math"
	_ "unsafe" // for go:linkname
)

// forcegcperiod is how often Go's runtime collects garbage at the least, in
// nanoseconds: two minutes. Its monitor wakes up at half of that, twice each
// time, in every process, for as long as it runs. Nothing of adit's allocates
// without being called, so there is nothing to collect that was not there at the
// last time; the collections that a growing heap asks for are as before.
//
// The linker has to be told -checklinkname=0; without the tag the program is the
// same but for this.
//
//go:linkname forcegcperiod runtime.forcegcperiod
var forcegcperiod int64

func init() { forcegcperiod = math.MaxInt64 }
