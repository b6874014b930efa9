package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"
)

// profilePath is where AppArmor looks for profiles.
const profilePath = "/etc/apparmor.d/adit"

func apparmorFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "print", Usage: "print a shell script that installs the profile"},
		&cli.BoolFlag{Name: "install", Usage: "install the profile (as root)"},
	}
}

func (a *adit) setup(c *cli.Context) error {
	if word := c.Args().First(); word != "" {
		return msgSetupWord.fail(word)
	}
	return msgSetupWhat.fail()
}

// setupAppArmor is adit setup apparmor. Ubuntu 23.10 and later let only
// programs with a profile that says so use the capabilities of a user
// namespace; the profile names the program by its path.
func (a *adit) setupAppArmor(c *cli.Context) error {
	if err := noArguments(c); err != nil {
		return err
	}
	exe, err := a.executable()
	if err != nil {
		return err
	}
	switch {
	case c.Bool("print") && c.Bool("install"):
		return msgTwoConfigs.fail("--print", "--install", "adit setup apparmor")
	case !c.Bool("print") && !c.Bool("install"):
		return msgSetupHow.fail()
	case c.Bool("print"):
		return a.ui.print(profileScript(exe))
	}
	return installProfile(exe)
}

// executable returns the path of this binary without links, if a profile and a
// shell can name it without quoting.
func (a *adit) executable() (string, error) {
	exe, err := a.exe()
	if err != nil {
		return "", err
	}
	if real, err := filepath.EvalSymlinks(exe); err == nil {
		exe = real
	}
	if strings.Trim(exe, safePath) != "" {
		return "", msgSetupPath.fail(exe)
	}
	return exe, nil
}

// safePath leaves out what AppArmor takes for a pattern or a variable.
const safePath = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./+"

// profile returns the AppArmor profile of exe. It confines nothing: the flag
// unconfined and the one rule give back what the restriction took.
func profile(exe string) string {
	return fmt.Sprintf(`# Lets adit make user namespaces, see apparmor.d(5).
abi <abi/4.0>,
include <tunables/global>

profile adit %s flags=(unconfined) {
  userns,

  include if exists <local/adit>
}
`, exe)
}

// profileScript returns a shell script for root that installs the profile.
func profileScript(exe string) string {
	return fmt.Sprintf(`set -e
# Run this as root: adit setup apparmor --print | sudo sh
cat > %[1]s <<'END'
%[2]sEND
apparmor_parser -r %[1]s
`, profilePath, profile(exe))
}

func installProfile(exe string) error {
	if os.Geteuid() != 0 {
		return msgSetupRoot.fail(exe)
	}
	if err := os.WriteFile(profilePath, []byte(profile(exe)), 0o644); err != nil {
		return msgSetupWrite.because(err)
	}
	if out, err := exec.Command("apparmor_parser", "-r", profilePath).CombinedOutput(); err != nil {
		if text := strings.TrimSpace(string(out)); text != "" {
			err = fmt.Errorf("%w: %s", err, text)
		}
		return msgSetupParser.because(err, profilePath)
	}
	return nil
}
