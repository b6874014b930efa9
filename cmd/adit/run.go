package main

import (
	"adit/launcher"

	"github.com/urfave/cli/v2"
)

// run is adit run: one command in a tunnel of its own.
func (a *adit) run(c *cli.Context) error {
	return a.start(c, c.Args().Slice())
}

// shell is adit shell: run, with the user's shell.
func (a *adit) shell(c *cli.Context) error {
	if c.Args().Present() {
		return msgShellCommand.fail(c.Args().First(), shellWords(c.Args().Slice()))
	}
	shell := a.getenv("SHELL")
	if shell == "" {
		shell = "/bin/sh"
	}
	return a.start(c, []string{shell})
}

func (a *adit) start(c *cli.Context, argv []string) error {
	o, err := a.launchOptions(c)
	if err != nil {
		return err
	}
	if err := a.complete(c, &o, argv); err != nil {
		launcher.ReportFailure(o.StatusFD, err)
		return err
	}
	a.warnings(o.Config)
	a.result, err = a.launch(a.ctx, o)
	a.ui.notice(launcher.Notice{Kind: launcher.WaitOver})
	return err
}

// complete adds the configurations and the command to the options.
func (a *adit) complete(c *cli.Context, o *launcher.Options, argv []string) (err error) {
	if o.Config, err = a.load(c); err != nil {
		return err
	}
	if o.Outer, err = a.outer(c); err != nil {
		return err
	}
	if o.Argv = argv; len(argv) == 0 {
		return msgNoCMD.fail()
	}
	return nil
}
