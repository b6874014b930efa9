package soak

import (
	"os"
	"path/filepath"
	"testing"

	"adit/e2e/lab"
	"adit/e2e/peer"
	"adit/e2e/suite"
)

func TestMain(m *testing.M) {
	peer.Main()
	os.Exit(suite.Main(m, func(l *lab.Lab) error {
		probe, adit = filepath.Join(l.Dir, "probe"), filepath.Join(l.Dir, "adit-soak")
		if err := suite.Build(probe, "adit/e2e/testdata/probe"); err != nil {
			return err
		}
		if err := os.Mkdir(CountDir, 0); err != nil {
			return err
		}
		if err := os.Chmod(CountDir, 0o777|os.ModeSticky); err != nil {
			return err
		}
		// As the Makefile does, and counting.
		return suite.Build(adit, "adit/cmd/adit", "-tags", "urfave_cli_no_docs,adit_quiet,soak", "-ldflags", "-s -w -E adit_entry -checklinkname=0")
	}))
}

// The paths of e2e/testdata/probe, and of adit with cmd/adit/count.go.
var probe, adit string
