package main

import (
	"cmp"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"adit/config"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"
)

// envContent is the variable that may hold a whole configuration, keys and all.
const envContent = "ADIT_CONFIG_CONTENT"

// load returns the configuration that the options, the environment and the
// file make together, ready for use.
func (a *adit) load(c *cli.Context) (*config.Config, error) {
	content := a.getenv(envContent)
	os.Unsetenv(envContent) // the command must not see it, whoever wins
	cfg, err := a.parse(c, content)
	if err != nil {
		return nil, err
	}
	for _, assignment := range c.StringSlice("set") {
		if err := cfg.Set(assignment); err != nil {
			return nil, msgBadSet.because(err, checkCommand(c, nil))
		}
	}
	if err := overlay(c, cfg); err != nil {
		return nil, err
	}
	if err := cfg.Finish(); err != nil {
		if option := blame(c, cfg, err); option != "" {
			return nil, msgOptionClash.because(err, option, checkCommand(c, nil))
		}
		return nil, badConfig(c, err)
	}
	if c.Bool("strict") {
		if err := cfg.Strict(); err != nil {
			return nil, badConfig(c, err)
		}
	}
	return cfg, nil
}

// outer returns the configurations of the tunnels around the command's: all -c
// but the last, outermost first. Options are about the last one.
func (a *adit) outer(c *cli.Context) ([]*config.Config, error) {
	files := c.StringSlice("config")
	var list []*config.Config
	for _, file := range files[:max(0, len(files)-1)] {
		if file == "-" {
			return nil, msgNestedStdin.fail()
		}
		cfg, err := a.parseFile(c, file)
		if err != nil {
			return list, err
		}
		if err := cfg.Finish(); err != nil {
			return list, badConfig(c, err)
		}
		if c.Bool("strict") {
			if err := cfg.Strict(); err != nil {
				return list, badConfig(c, err)
			}
		}
		list = append(list, cfg)
	}
	return list, nil
}

func badConfig(c *cli.Context, err error) error {
	return msgBadConfig.because(err, checkCommand(c, err))
}

// checkCommand returns what shows more about the configuration of c that err is
// about; if err does not tell, the one that options apply to.
func checkCommand(c *cli.Context, err error) string {
	if c.IsSet("config-fd") {
		return "adit check --config-fd 3 3< wg0.conf"
	}
	if files := c.StringSlice("config"); len(files) > 0 {
		file := files[len(files)-1]
		var e *config.Error
		if errors.As(err, &e) && len(files) > 1 && e.File != "" {
			file = e.File
		}
		return cmp.Or(shellWords([]string{"adit", "check", "-c", file}), "adit check -c wg0.conf")
	}
	return "adit check" // goes by the environment, too
}

// parse reads the configuration from the one place that was named.
func (a *adit) parse(c *cli.Context, content string) (*config.Config, error) {
	files, path := c.StringSlice("config"), "adit "+commandPath(c)
	env := a.getenv("ADIT_CONFIG")
	switch {
	case len(files) > 1 && c.IsSet("config-fd"):
		return nil, msgTwoConfigs.fail("-c", "--config-fd", path)
	case len(files) > 1 && c.Command.Name == "check":
		return nil, msgCheckOne.fail()
	case len(files) > 1 && slices.Contains(files, "-"):
		return nil, msgNestedStdin.fail()
	case len(files) > 1:
		return a.parseFile(c, files[len(files)-1]) // the others: outer
	case len(files) == 1 && c.IsSet("config-fd"):
		return nil, msgTwoConfigs.fail("-c", "--config-fd", path)
	case c.IsSet("config-fd"):
		return parseFD(c)
	case len(files) == 1 && files[0] == "-":
		return a.parseStdin(c)
	case len(files) == 1:
		return a.parseFile(c, files[0])
	case env != "" && content != "":
		return nil, msgTwoVariables.fail("ADIT_CONFIG", envContent)
	case content != "":
		return parseContent(c, content)
	case env == "-":
		return a.parseStdin(c)
	case env != "":
		return a.parseFile(c, env)
	}
	return nil, a.noConfig(c)
}

func (a *adit) parseFile(c *cli.Context, nameOrPath string) (*config.Config, error) {
	path, err := config.Find(nameOrPath, a.getenv)
	var f *os.File
	if err == nil {
		f, err = os.Open(path)
	}
	switch {
	case errors.Is(err, fs.ErrPermission) && (path != "" || !isFile(nameOrPath+".conf")): // the one here is likelier
		return nil, unreadable(c, err, path)
	case err != nil:
		return nil, msgNotFound.because(err, cmp.Or(instead(c, nameOrPath, a.candidate(nameOrPath)), hintDemo))
	}
	defer f.Close()
	cfg, err := config.Parse(path, f)
	if err != nil {
		return nil, badConfig(c, err)
	}
	return cfg, nil
}

// unreadable hints how to get a copy of a file that is root's, as those in
// /etc/wireguard are.
func unreadable(c *cli.Context, err error, path string) error {
	var n *config.NotFoundError
	if errors.As(err, &n) && len(n.Tried) > 0 {
		path = n.Tried[len(n.Tried)-1]
		if _, gone := os.Stat(path); errors.Is(gone, fs.ErrNotExist) {
			return msgUnreadable.because(err) // another folder is the unreadable one
		}
	}
	base, then := filepath.Base(path), ""
	if name, ok := strings.CutSuffix(base, ".conf"); ok && c != nil {
		then = typedLine(c, withFiles(name), c.Args().Slice())
	}
	return msgUnreadable.because(err, shellWords([]string{path}), shellWords([]string{base}), then)
}

// parseStdin reads standard input to its end and then closes it, so that the
// command finds nothing there, not even the configuration by seeking back.
func (a *adit) parseStdin(c *cli.Context) (*config.Config, error) {
	if c.Command.Name != "check" && term.IsTerminal(int(a.in.Fd())) {
		return nil, msgStdinTerminal.fail()
	}
	cfg, err := config.Parse("standard input", a.in)
	if err != nil {
		return nil, badConfig(c, err)
	}
	if a.in.Fd() != 0 {
		return cfg, nil
	}
	a.in.Close()
	// The lowest free number is 0 again, open(2).
	if a.in, err = os.Open(os.DevNull); err != nil {
		return nil, msgReadStdin.because(err)
	}
	return cfg, nil
}

func parseFD(c *cli.Context) (*config.Config, error) {
	s := c.String("config-fd")
	n, err := strconv.Atoi(s)
	if err != nil || n < 3 {
		return nil, msgConfigFD.fail()
	}
	f := os.NewFile(uintptr(n), "descriptor "+s)
	if f == nil {
		return nil, msgConfigFD.fail()
	}
	defer f.Close() // so that the command does not inherit it
	cfg, err := config.Parse(f.Name(), f)
	var e *config.Error
	switch {
	case errors.As(err, &e) && e.Line == 0 && isIO(e.Err):
		return nil, msgConfigFD.because(err)
	case err != nil:
		return nil, badConfig(c, err)
	}
	return cfg, nil
}

// isIO reports whether err is the system's and not about the text.
func isIO(err error) bool {
	var errno interface{ Temporary() bool }
	return errors.As(err, &errno)
}

// parseContent reads the text itself or the base64 of it: secret stores of CI
// systems often take no line ends.
func parseContent(c *cli.Context, s string) (*config.Config, error) {
	if !strings.Contains(strings.ToLower(s), "[interface]") {
		raw, err := io.ReadAll(base64.NewDecoder(base64.StdEncoding, strings.NewReader(strings.Join(strings.Fields(s), ""))))
		if err != nil || !strings.Contains(strings.ToLower(string(raw)), "[interface]") {
			return nil, msgContent.fail()
		}
		s = string(raw)
	}
	cfg, err := config.Parse(envContent, strings.NewReader(s))
	if err != nil {
		return nil, badConfig(c, err)
	}
	return cfg, nil
}

// warnings tells what run says about a configuration that can be used.
func (a *adit) warnings(cfg *config.Config) {
	for _, n := range cfg.Notes {
		if !n.Quiet {
			a.ui.warn(n.In(cfg.Source))
		}
	}
}

// notes tells everything that check says about one.
func (a *adit) notes(cfg *config.Config) {
	for _, n := range cfg.Notes {
		a.ui.note(n.In(cfg.Source))
	}
	if info, err := os.Stat(cfg.Source); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o007 != 0 {
		a.ui.note(fmt.Sprintf(noteWorldConfig, cfg.Source, cfg.Source))
	}
}
