package main

import (
	"fmt"
	"slices"
	"strings"

	"adit/config"
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
		if word := c.Args().First(); strings.HasSuffix(word, ".conf") && !c.IsSet("config") {
			return msgForgotC.fail(word, typedLine(c, withFiles(word), nil))
		}
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
	for _, cfg := range append(slices.Clone(o.Outer), o.Config) {
		a.warnings(cfg)
	}
	a.warnNoWait(o.Config)
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
	if err := distinct(append(slices.Clone(o.Outer), o.Config)); err != nil {
		return err
	}
	if o.Argv = argv; len(argv) == 0 {
		return msgNoCMD.fail(typedLine(c, withFiles(c.StringSlice("config")...), nil))
	}
	return nil
}

// distinct returns an error if two tunnels that are inside each other have one
// key: the peer would send to the one what is for the other.
func distinct(tunnels []*config.Config) error {
	for i, cfg := range tunnels {
		for _, before := range tunnels[:i] {
			switch {
			case before.PrivateKey.Public() != cfg.PrivateKey.Public():
			case before.Source == cfg.Source:
				return msgTwice.fail(cfg.Source)
			default:
				return msgSameKey.fail(before.Source, cfg.Source, shellWords([]string{cfg.Source}))
			}
		}
	}
	return nil
}

// warnNoWait tells that there is nothing to wait for: only who has an endpoint
// can be called.
func (a *adit) warnNoWait(cfg *config.Config) {
	called := func(p config.Peer) bool { return p.Endpoint != config.Endpoint{} }
	if cfg.Options.Wait.Kind == config.WaitHandshake && !slices.ContainsFunc(cfg.Peers, called) {
		a.ui.warn(fmt.Sprintf(warnNoEndpoint, cfg.Source))
	}
}
