package main

import (
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"strings"

	"adit/config"
	"adit/hostile"
	"adit/launcher"

	"github.com/urfave/cli/v2"
)

// adit is the program with what it takes from the system as fields, so that
// tests can hear every word of it.
type adit struct {
	ui     *ui
	in     *os.File
	getenv func(string) string
	exe    func() (string, error) // path of this binary
	launch func(context.Context, launcher.Options) (launcher.Result, error)
	probe  func(context.Context) []launcher.ModeReport
	trial  func(context.Context, *hostile.Trial) (*hostile.Report, error)
	ctx    context.Context

	args   []string        // as typed, without the program's name
	result launcher.Result // of the command that run started
}

// main runs the program and returns how the process is to end.
func (a *adit) main(args []string) launcher.Result {
	a.args = args[min(1, len(args)):]
	if err := a.app().RunContext(a.ctx, args); err != nil {
		return launcher.Result{Code: a.ui.fail(err)}
	}
	return a.result
}

// app describes the commands. Everything that cli would print by itself is
// turned off: help is hand-written, words are ui's, exits are main's.
func (a *adit) app() *cli.App {
	cli.HelpFlag = nil // it would be found under our own flag's name and answered by cli
	app := &cli.App{
		Name: "adit", HelpName: "adit", Usage: "send one command through a WireGuard tunnel",
		HideHelp: true, HideVersion: true,
		DisableSliceFlagSeparator: true,
		Writer:                    io.Discard,
		ErrWriter:                 io.Discard,
		ExitErrHandler:            func(*cli.Context, error) {},
		OnUsageError:              a.usageError,
		Flags: []cli.Flag{
			helpFlag(),
			&cli.BoolFlag{Name: "version", Usage: "print the version"},
		},
		Action: a.noCommand,
		Commands: []*cli.Command{
			{Name: "run", Usage: "run one command in a tunnel of its own", Flags: runFlags(), Action: a.run},
			{Name: "shell", Usage: "run $SHELL in a tunnel of its own", Flags: runFlags(), Action: a.shell},
			{Name: "check", Usage: "say what a configuration does", Flags: checkFlags(), Action: a.check},
			{Name: "doctor", Usage: "say what works on this machine", Flags: doctorFlags(), Action: a.doctor},
			{Name: "leaktest", Usage: "try to get out of the tunnel, many ways", Flags: leaktestFlags(), Action: a.leaktest},
			{Name: "serve", Usage: "be the other end of tunnels", Flags: serveFlags(), Action: a.serve},
			{Name: "device", Usage: "be a WireGuard interface for wg and wg-quick; for root", Flags: deviceFlags(), Action: a.device},
			{Name: "demo", Usage: "show the main job on this machine alone", Action: a.demo},
			{Name: demoFetch, Hidden: true, Action: a.fetch},
			{Name: hostile.InsideWord, Hidden: true, Action: leaktestInside},
			{Name: hostile.VictimWord, Hidden: true, Action: leaktestVictim},
			{Name: "genkey", Usage: "make a private key", Action: a.genkey},
			{Name: "pubkey", Usage: "turn a private key into its public key", Action: a.pubkey},
			{Name: "genpsk", Usage: "make a preshared key", Action: a.genpsk},
			{Name: "setup", Usage: "prepare this machine", Action: a.setup, Subcommands: []*cli.Command{
				{Name: "apparmor", Usage: "let this binary make user namespaces", Flags: apparmorFlags(), Action: a.setupAppArmor},
			}},
			{Name: "completion", Usage: "print the completion script of a shell", Action: a.completion},
			{Name: "version", Usage: "print the version", Flags: []cli.Flag{jsonFlag()}, Action: a.version},
			{Name: "help", Usage: "print help", Action: a.help},
		},
	}
	a.finish(app.Commands)
	app.Action = withHelp(a, app.Action)
	for _, c := range app.Commands {
		a.wrap(c)
	}
	return app
}

// finish sets what is the same for all commands.
func (a *adit) finish(commands []*cli.Command) {
	for _, c := range commands {
		c.HideHelp = true
		c.OnUsageError = a.usageError
		c.Flags = append(c.Flags, helpFlag())
		a.finish(c.Subcommands)
	}
}

func (a *adit) wrap(c *cli.Command) {
	c.Action = withHelp(a, c.Action)
	for _, s := range c.Subcommands {
		a.wrap(s)
	}
}

// withHelp makes --help print the text of the command.
func withHelp(a *adit, action cli.ActionFunc) cli.ActionFunc {
	return func(c *cli.Context) error {
		if c.Bool("help") {
			return a.printHelp(commandPath(c))
		}
		return action(c)
	}
}

func helpFlag() cli.Flag {
	return &cli.BoolFlag{Name: "help", Aliases: []string{"h"}, Usage: "print help"}
}

func jsonFlag() cli.Flag { return &cli.BoolFlag{Name: "json", Usage: "print JSON"} }

// noCommand is what runs when no known command was given.
func (a *adit) noCommand(c *cli.Context) error {
	word := c.Args().First()
	switch {
	case c.Bool("version"):
		return a.version(c)
	case word == "":
		return msgNoSubcommand.fail()
	case laterCommands[word]:
		return msgCommandLater.fail(word)
	}
	words := c.Args().Slice()
	if name := config.Closest(word, slices.Values(commandNames(c.App))); name != "" {
		return msgMisspelt.fail(word, shellWords(slices.Concat([]string{"adit", name}, words[1:])))
	}
	return msgUnknownCommand.fail(word, shellWords(words))
}

// laterCommands and laterOptions are in the contract with the user but not in
// this version. They are refused by name, so that nobody takes them for
// misspelt, or believes that they took effect.
var (
	laterCommands = words("up exec down ls proxy forward show")
	laterOptions  = words("isolate kill-leftovers p publish host-port direct")
)

func words(s string) map[string]bool {
	m := make(map[string]bool)
	for _, w := range strings.Fields(s) {
		m[w] = true
	}
	return m
}

// usageError turns what package flag says into adit's words.
func (a *adit) usageError(c *cli.Context, err error, _ bool) error {
	text := err.Error()
	path := strings.TrimSpace("adit " + commandPath(c))
	if name, ok := strings.CutPrefix(text, "flag provided but not defined: -"); ok {
		if laterOptions[name] {
			return msgOptionLater.fail(dashes(name))
		}
		if path == "adit" && slices.Contains(optionWords(runFlags()), dashes(name)) {
			return msgEarlyOption.fail(dashes(name), a.optionsAfterCommand(c.App))
		}
		return msgUnknownOption.fail(a.typedOption(name), path)
	}
	if name, ok := strings.CutPrefix(text, "flag needs an argument: -"); ok {
		return msgNoValue.fail(dashes(name), path)
	}
	if _, name, ok := strings.Cut(text, "for -"); ok && strings.HasPrefix(text, "invalid boolean") {
		name, _, _ = strings.Cut(name, ":")
		return msgNoValueTaken.fail(dashes(name), path)
	}
	if names, ok := strings.CutPrefix(text, "Cannot use two forms of the same flag: "); ok {
		short, long, _ := strings.Cut(names, " ")
		return msgTwoForms.fail(dashes(short)+", "+dashes(long), path)
	}
	return msgBadOption.fail(path)
}

func dashes(name string) string {
	if len(name) == 1 || name == "vv" {
		return "-" + name
	}
	return "--" + name
}

// commandPath returns the words of c's command, "" for the program itself.
func commandPath(c *cli.Context) string {
	if c.Command == nil {
		return ""
	}
	return strings.TrimSpace(strings.TrimPrefix(c.Command.HelpName, "adit"))
}

// noArguments returns an error if c was given words that are not options.
func noArguments(c *cli.Context) error {
	if c.Args().Present() {
		if word := c.Args().First(); strings.HasSuffix(word, ".conf") && takesConfig(c) && !c.IsSet("config") {
			return msgForgotC.fail(word, typedLine(c, withFiles(word), nil))
		}
		return msgUnexpected.fail(commandPath(c), c.Args().First())
	}
	return nil
}

// takesConfig reports whether c's command has the option -c.
func takesConfig(c *cli.Context) bool {
	return slices.Contains(optionWords(c.Command.Flags), "-c")
}

// A failure is an error with the hints that go with it and the exit status.
type failure struct {
	code  int
	err   error
	hints []string
	from  *message // nil: it arose elsewhere
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// asFailure puts any error into the form that ui prints.
func asFailure(err error) *failure {
	var f *failure
	if errors.As(err, &f) {
		return f
	}
	var l *launcher.Error
	if errors.As(err, &l) {
		return &failure{code: l.Code, err: err, hints: l.Hints}
	}
	return &failure{code: launcher.CodeFailed, err: err}
}
