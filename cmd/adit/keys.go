package main

import (
	"io"
	"os"
	"strings"

	"adit/wg"

	"github.com/urfave/cli/v2"
)

// genkey, pubkey and genpsk do as those of wg(8) do.

func (a *adit) genkey(c *cli.Context) error {
	if err := noArguments(c); err != nil {
		return err
	}
	a.warnWorldOutput()
	return a.ui.print(wg.NewPrivateKey().Base64() + "\n")
}

func (a *adit) genpsk(c *cli.Context) error {
	if err := noArguments(c); err != nil {
		return err
	}
	a.warnWorldOutput()
	return a.ui.print(wg.NewPresharedKey().Base64() + "\n")
}

func (a *adit) pubkey(c *cli.Context) error {
	if err := noArguments(c); err != nil {
		return err
	}
	text, err := io.ReadAll(io.LimitReader(a.in, 4096))
	if err != nil {
		return msgReadStdin.because(err)
	}
	k, err := wg.ParsePrivateKey(strings.TrimSpace(string(text)))
	if err != nil {
		return msgPubkey.because(err)
	}
	return a.ui.print(k.Public().String() + "\n")
}

// warnWorldOutput warns when a secret goes to a file that others can read.
func (a *adit) warnWorldOutput() {
	f, ok := a.ui.out.(*os.File)
	if !ok {
		return
	}
	if info, err := f.Stat(); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o007 != 0 {
		a.ui.warn(warnWorldOutput)
	}
}
