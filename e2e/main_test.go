package e2e

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
	// What runs beside others waits more than it works.
	flag.Parse()
	flag.Set("test.parallel", "16")
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
	theWorld.tunnelDNS.Forget()
	t.Cleanup(func() { theWorld.wantNobody(t) })
	return theWorld
}
