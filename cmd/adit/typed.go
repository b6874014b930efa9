package main

import (
	"cmp"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"adit/config"

	"github.com/urfave/cli/v2"
)

// What was typed, and how it was meant: the lines that hints show.

// typedLine returns c's command as it should be typed, with these
// configurations and, where it runs one, the command argv.
func typedLine(c *cli.Context, options, argv []string) string {
	line := shellWords(slices.Concat([]string{"adit"}, strings.Fields(commandPath(c)), options))
	switch {
	case c.Command.Name != "run" || line == "":
		return line
	case len(argv) == 0:
		return line + " -- " + example
	}
	if command := shellWords(argv); command != "" {
		return line + " -- " + command
	}
	return ""
}

// withFiles returns the options that name configurations.
func withFiles(files ...string) (options []string) {
	for _, f := range files {
		options = append(options, "-c", f)
	}
	return options
}

// instead returns c's command with another configuration in the place of file,
// "" if there is no other.
func instead(c *cli.Context, file, other string) string {
	files := slices.Clone(c.StringSlice("config"))
	same := func(f string) bool { return filepath.Clean(f) == filepath.Clean(other) }
	switch i := slices.Index(files, file); {
	case other == "", slices.ContainsFunc(files, same):
		return ""
	case i >= 0:
		files[i] = other
	default: // of the environment
		files = []string{other}
	}
	return typedLine(c, withFiles(files...), c.Args().Slice())
}

// candidate returns a configuration that may have been meant by a name or path
// where there is none, "" if there is no such.
func (a *adit) candidate(nameOrPath string) string {
	if nameOrPath != "" {
		for _, path := range []string{nameOrPath, nameOrPath + ".conf"} {
			if path != nameOrPath+".conf" && strings.Contains(path, "/") {
				continue // it was looked for just there
			}
			if isFile(path) {
				return "./" + path
			}
		}
		base := strings.TrimSuffix(filepath.Base(nameOrPath), ".conf")
		if path, err := config.Find(base, a.getenv); base != nameOrPath && err == nil && isFile(path) {
			return base
		}
	}
	here, _ := filepath.Glob("*.conf")
	here = slices.DeleteFunc(here, func(path string) bool { return !isFile(path) })
	if len(here) == 0 {
		return ""
	}
	meant := strings.TrimSuffix(filepath.Base(cmp.Or(nameOrPath, "wg0")), ".conf") + ".conf"
	return "./" + cmp.Or(config.Closest(meant, slices.Values(here)), here[0])
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// noConfig explains that there is no configuration. A first word that looks
// like one tells that only -c was forgotten; a -c behind the command, that
// options go before it.
func (a *adit) noConfig(c *cli.Context) error {
	words := c.Args().Slice()
	if len(words) > 0 && strings.HasSuffix(words[0], ".conf") {
		rest := words[1:]
		if len(rest) > 0 && rest[0] == "--" {
			rest = rest[1:]
		}
		return msgForgotC.fail(words[0], typedLine(c, withFiles(words[0]), rest))
	}
	for i := 1; i < len(words); i++ {
		file, n := "", 0
		if (words[i] == "-c" || words[i] == "--config") && i+1 < len(words) {
			file, n = words[i+1], 2
		} else if f, ok := strings.CutPrefix(words[i], "--config="); ok {
			file, n = f, 1
		}
		if n == 0 || !a.looksLikeConfig(file) { // another program's -c
			continue
		}
		argv := slices.Concat(words[:i], words[i+n:])
		return msgLateC.fail(typedLine(c, withFiles(file), argv))
	}
	file := cmp.Or(a.candidate(""), "wg0.conf")
	path := "adit " + commandPath(c)
	env := typedLine(c, nil, words)
	return msgNoConfig.fail(cmp.Or(typedLine(c, withFiles(file), words), path+" -c wg0.conf"),
		cmp.Or(shellWords([]string{file}), "wg0.conf"), cmp.Or(env, path))
}

func (a *adit) looksLikeConfig(word string) bool {
	if strings.HasSuffix(word, ".conf") {
		return true
	}
	path, err := config.Find(word, a.getenv)
	return err == nil && isFile(path)
}

// typedOption returns the option that package flag calls name as it was typed.
func (a *adit) typedOption(name string) string {
	for _, w := range a.args {
		if w == "--" {
			break
		}
		option, _, _ := strings.Cut(w, "=")
		if strings.HasPrefix(option, "-") && strings.TrimLeft(option, "-") == strings.TrimLeft(name, "-") {
			return option
		}
	}
	return dashes(name)
}

// optionsAfterCommand returns what was typed with the options in front of the
// command behind it. Without a command of adit's, run is meant.
func (a *adit) optionsAfterCommand(app *cli.App) string {
	values := valueWords(app)
	i := 0
	for i < len(a.args) && strings.HasPrefix(a.args[i], "-") && a.args[i] != "--" {
		if slices.Contains(values, a.args[i]) {
			i++
		}
		i++
	}
	i = min(i, len(a.args))
	options, rest := a.args[:i], a.args[i:]
	if len(rest) > 0 && app.Command(rest[0]) != nil {
		return shellWords(slices.Concat([]string{"adit", rest[0]}, options, rest[1:]))
	}
	if len(rest) > 0 && rest[0] == "--" {
		rest = rest[1:]
	}
	if len(rest) == 0 {
		rest = strings.Fields(example)
	}
	return shellWords(slices.Concat([]string{"adit", "run"}, options, []string{"--"}, rest))
}

// blame returns the option of c that brought about what err says of the whole
// configuration, "" if it is the file's own fault.
func blame(c *cli.Context, cfg *config.Config, err error) string {
	var e *config.Error
	if !errors.As(err, &e) || e.Line != 0 {
		return ""
	}
	switch {
	case e.Key == "Address" && c.Bool("4"):
		return "-4"
	case e.Key == "Address" && c.Bool("6"):
		return "-6"
	case e.Key == "MTU" && c.IsSet("mtu"):
		return "--mtu"
	}
	for _, assignment := range c.StringSlice("set") {
		path, _, _ := strings.Cut(assignment, "=")
		if e.Key != "" && strings.HasSuffix(strings.ToLower(path), "."+strings.ToLower(e.Key)) {
			return "--set"
		}
	}
	return ""
}
