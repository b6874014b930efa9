package netstack

import (
	"io"

	"gvisor.dev/gvisor/pkg/log"
)

// silenceGVisor stops gVisor from writing to standard error, which belongs to
// the program that adit runs, what any packet may provoke. gVisor's log is one
// per process; some of its parts have taken hold of it before anything of ours
// runs, and are reached only by the level.
func silenceGVisor() {
	log.SetLevel(log.Warning)
	log.SetTarget(&log.Writer{Next: io.Discard})
}
