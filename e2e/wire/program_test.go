package wire

import (
	"testing"

	"adit/e2e/lab"
	"adit/e2e/suite"
)

// start starts argv on a machine, as the user.
func (w *world) start(t *testing.T, on *lab.Namespace, argv ...string) *suite.Program {
	t.Helper()
	return suite.Start(t, on, w.lab.User, argv...)
}

// run starts adit run on the client with a configuration.
func (w *world) run(t *testing.T, conf string, argv ...string) *suite.Program {
	t.Helper()
	return w.start(t, w.Client, append([]string{suite.Adit(), "run", "--wait-timeout", "60s", "-c", conf, "--"}, argv...)...)
}
