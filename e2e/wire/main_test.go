package wire

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"adit/e2e/lab"
	"adit/e2e/peer"
	"adit/e2e/suite"
)

func TestMain(m *testing.M) {
	peer.Main()
	// These tests wait more than they work: as many at a time as there are, not
	// as many as there are processors. A flood works: those are not parallel, and
	// come before all else, one by one.
	flag.Parse()
	flag.Set("test.parallel", "16")
	os.Exit(suite.Main(m, func(l *lab.Lab) error {
		probe = filepath.Join(l.Dir, "probe")
		return suite.Build(probe, "adit/e2e/testdata/probe")
	}))
}

// probe is the path of e2e/testdata/probe.
var probe string
