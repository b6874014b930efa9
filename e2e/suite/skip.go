package suite

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"adit/e2e/lab"
)

// The one lab of this process, or why there is none.
var (
	theLab   *lab.Lab
	whyNoLab error
)

// Lab returns the lab, as every test's first step. It skips the test where
// there is none, unless ADIT_REQUIRE says that there must be one.
func Lab(t testing.TB) *lab.Lab {
	t.Helper()
	if whyNoLab == nil && theLab == nil {
		whyNoLab = errors.New("not inside the lab")
	}
	if whyNoLab != nil {
		if Required("namespace") {
			t.Fatalf("no lab for end-to-end tests: %v", whyNoLab)
		}
		Skip(t, "no lab for end-to-end tests: %v", whyNoLab)
	}
	return theLab
}

// Required reports whether what is one of the words of ADIT_REQUIRE.
func Required(what string) bool {
	return slices.Contains(strings.Split(os.Getenv("ADIT_REQUIRE"), ","), what)
}

var skips struct {
	mu   sync.Mutex // guards list
	list []string
}

// Skip skips the test and counts it: the last line of the run says how many.
func Skip(t testing.TB, format string, args ...any) {
	t.Helper()
	reason := fmt.Sprintf(format, args...)
	skips.mu.Lock()
	skips.list = append(skips.list, t.Name()+": "+reason)
	skips.mu.Unlock()
	t.Skip(reason)
}

func reportSkips() {
	fmt.Printf("e2e: %d skipped\n", len(skips.list))
	for _, s := range skips.list {
		fmt.Println("e2e: skipped", s)
	}
}

// Need skips the test unless the user can run all of the programs.
func Need(t testing.TB, programs ...string) {
	t.Helper()
	var missing []string
	for _, p := range programs {
		if _, err := lab.Look(p); err != nil {
			missing = append(missing, p)
		}
	}
	if missing != nil {
		Skip(t, "not installed: %s", strings.Join(missing, ", "))
	}
}
