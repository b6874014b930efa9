package sockets

import (
	"flag"
	"os"
	"testing"

	"adit/e2e/lab"
	"adit/e2e/peer"
	"adit/e2e/suite"
)

func TestMain(m *testing.M) {
	peer.Main()
	// These tests wait more than they work, see e2e/wire.
	flag.Parse()
	flag.Set("test.parallel", "8")
	os.Exit(suite.Main(m, func(l *lab.Lab) (err error) {
		theWorld, err = newWorld(l)
		return err
	}))
}

// theWorld is the one of this process.
var theWorld *world

// enter returns the world, as every test's first step.
func enter(t *testing.T) *world {
	t.Helper()
	suite.Lab(t)
	return theWorld
}
