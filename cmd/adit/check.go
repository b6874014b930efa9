package main

import (
	"strings"

	"github.com/urfave/cli/v2"
)

// check is adit check: notes about a configuration on standard error, what is
// in force of it on standard output.
func (a *adit) check(c *cli.Context) error {
	if err := noArguments(c); err != nil {
		return err
	}
	cfg, err := a.load(c)
	if err != nil {
		return err
	}
	a.notes(cfg)
	var b strings.Builder
	cfg.Print(&b)
	return a.ui.print(b.String())
}
