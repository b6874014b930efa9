package main

import (
	"os"

	"adit/hostile"

	"github.com/urfave/cli/v2"
)

// leaktestInside is the hidden command that makes the attempts, in the tunnel.
func leaktestInside(c *cli.Context) error {
	return hostile.Inside(c.Args().First(), c.Args().Tail(), os.Stdout)
}

// leaktestVictim is the hidden command that waits outside to be robbed.
func leaktestVictim(c *cli.Context) error {
	return hostile.RunVictim(c.Args().Get(0), c.Args().Get(1))
}
