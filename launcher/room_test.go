package launcher

import (
	"math"
	"os"
	"strings"
	"testing"
)

// The bound spares the count only if it is none below it, and spares nothing if
// it could not be read.
func TestTheMachineHasAtLeastTheThreadsOfItsUser(t *testing.T) {
	last := func() string { // the last one that has begun (proc(5), /proc/loadavg)
		b, err := os.ReadFile("/proc/loadavg")
		if err != nil {
			t.Fatal(err)
		}
		f := strings.Fields(string(b))
		return f[len(f)-1]
	}
	// To count takes a while, in which some end that are counted and others begin that
	// are, too. Where none begins there are not more than before; one that was about to
	// be is there the next time.
	for less := 0; less < 3; {
		before := last()
		all, users := threadsOfAll(), threadsOf(os.Getuid())
		if all == math.MaxUint64 || users == 0 {
			t.Fatalf("the machine has %d threads, its user %d", all, users)
		}
		if all >= users {
			return
		}
		if last() == before {
			t.Logf("the machine has %d threads, its user %d", all, users)
			less++
		}
	}
	t.Error("the machine has less threads than its user")
}
