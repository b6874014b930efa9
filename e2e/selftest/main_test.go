package selftest

import (
	"flag"
	"os"
	"testing"

	"adit/e2e/lab"
	"adit/e2e/peer"
	"adit/e2e/suite"
)

// atOnce is how many tests run at the same time, unless -parallel says. Most of
// them wait for timers of the protocol, in namespaces of their own; those that
// need the processor take turns (see busy).
const atOnce = "10"

func TestMain(m *testing.M) {
	peer.Main()
	flag.Parse()
	chosen := false
	flag.Visit(func(f *flag.Flag) { chosen = chosen || f.Name == "test.parallel" })
	if !chosen {
		flag.Set("test.parallel", atOnce)
	}
	os.Exit(suite.Main(m, func(*lab.Lab) error { return nil }))
}
