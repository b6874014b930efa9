package launcher

import (
	"math"
	"os"
	"testing"
)

// The bound spares the count only if it is none below it, and spares nothing if
// it could not be read.
func TestTheMachineHasAtLeastTheThreadsOfItsUser(t *testing.T) {
	// Others come and go meanwhile: the least count is of one moment or the other.
	before, all, after := threadsOf(os.Getuid()), threadsOfAll(), threadsOf(os.Getuid())
	if all < min(before, after) || all == math.MaxUint64 || before == 0 {
		t.Errorf("the machine has %d threads, its user %d and then %d", all, before, after)
	}
}
