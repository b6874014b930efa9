// Package goroutines tells which goroutines outlive the tests of a package. It
// is for tests only.
package goroutines

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// Main is a TestMain that fails if goroutines of adit's or of gVisor's outlive
// the tests: every test closes what it has opened. It does not return.
func Main(m *testing.M) {
	code := m.Run()
	if left := leaked(); code == 0 && left != "" {
		fmt.Fprintf(os.Stderr, "goroutines are left:\n%s\n", left)
		code = 1
	}
	os.Exit(code)
}

// leaked waits up to five seconds for goroutines to end and returns the stacks
// of those that have not. Nothing tells of a goroutine's end: it has to be
// looked for.
func leaked() string {
	var left []string
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		buf := make([]byte, 16<<20)
		left = nil
		for _, g := range strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
			if strings.Contains(g, "TestMain") || !strings.Contains(g, "adit/") && !strings.Contains(g, "gvisor.dev/") {
				continue
			}
			left = append(left, g)
		}
		if len(left) == 0 {
			return ""
		}
	}
	return strings.Join(left, "\n\n")
}
