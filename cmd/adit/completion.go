package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// completion is adit completion: a script for one shell, made from the same
// description of commands and options that the program itself goes by.
func (a *adit) completion(c *cli.Context) error {
	shell := c.Args().First()
	if c.NArg() > 1 {
		return msgUnexpected.fail("completion", c.Args().Get(1))
	}
	switch shell {
	case "":
		return msgNoShell.fail()
	case "bash":
		return a.ui.print(bashCompletion(c.App))
	case "zsh":
		return a.ui.print(zshCompletion(c.App))
	case "fish":
		return a.ui.print(fishCompletion(c.App))
	}
	return msgShell.fail(shell)
}

// optionWords returns the options of flags as they are typed.
func optionWords(flags []cli.Flag) (words []string) {
	for _, f := range flags {
		for _, n := range f.Names() {
			words = append(words, dashes(n))
		}
	}
	return words
}

// valueWords returns those of optionWords that need a value.
func valueWords(app *cli.App) (words []string) {
	for _, c := range app.VisibleCommands() {
		for _, f := range c.Flags {
			if _, isBool := f.(*cli.BoolFlag); !isBool {
				words = append(words, optionWords([]cli.Flag{f})...)
			}
		}
	}
	slices.Sort(words)
	return slices.Compact(words)
}

func commandNames(app *cli.App) (names []string) {
	for _, c := range app.VisibleCommands() {
		names = append(names, c.Name)
	}
	return names
}

// values are the words that an option or command may be followed by.
var values = map[string]string{
	"--mode":       "auto namespace",
	"--dns":        "host off",
	"--wait":       "handshake none",
	"--log-format": "text json",
	"completion":   "bash zsh fish",
	"setup":        "apparmor",
}

func bashCompletion(app *cli.App) string {
	var b strings.Builder
	fmt.Fprintf(&b, `# bash completion of adit
_adit() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} cmd=${COMP_WORDS[1]} i
	COMPREPLY=()
	if ((COMP_CWORD == 1)); then
		COMPREPLY=($(compgen -W "%s" -- "$cur"))
		return
	fi
	# The command to be run begins at the first word that is no option.
	if [[ $cmd == run ]]; then
		for ((i = 2; i < COMP_CWORD; i++)); do
			case ${COMP_WORDS[i]} in
			--) ((i++)); break ;;
			%s) ((i++)) ;;
			-*) ;;
			*) break ;;
			esac
		done
		if ((i < COMP_CWORD)); then
			declare -F _command_offset >/dev/null && _command_offset $i || COMPREPLY=($(compgen -f -- "$cur"))
			return
		fi
	fi
	case $prev in
`, strings.Join(commandNames(app), " "), strings.Join(valueWords(app), "|"))
	for _, word := range []string{"--mode", "--dns", "--wait", "--log-format", "completion", "setup"} {
		fmt.Fprintf(&b, "\t%s) COMPREPLY=($(compgen -W %q -- \"$cur\")); return ;;\n", word, values[word])
	}
	b.WriteString("\t-c|--config|--log-file|--pcap) COMPREPLY=($(compgen -f -- \"$cur\")); return ;;\n\tesac\n\tcase $cmd in\n")
	for _, c := range app.VisibleCommands() {
		fmt.Fprintf(&b, "\t%s) COMPREPLY=($(compgen -W %q -- \"$cur\")) ;;\n", c.Name, strings.Join(optionWords(c.Flags), " "))
	}
	b.WriteString("\tesac\n\tif [[ $cmd == run && $cur != -* ]]; then COMPREPLY=($(compgen -c -- \"$cur\")); fi\n}\ncomplete -o default -F _adit adit\n")
	return b.String()
}

func zshCompletion(app *cli.App) string {
	var b strings.Builder
	b.WriteString("#compdef adit\n# zsh completion of adit\n_adit() {\n\tlocal -a commands=(\n")
	for _, c := range app.VisibleCommands() {
		fmt.Fprintf(&b, "\t\t'%s:%s'\n", c.Name, c.Usage)
	}
	b.WriteString("\t)\n\tif ((CURRENT == 2)); then\n\t\t_describe command commands\n\t\treturn\n\tfi\n\tcase $words[2] in\n")
	for _, c := range app.VisibleCommands() {
		fmt.Fprintf(&b, "\t%s)\n\t\t_arguments -S", c.Name)
		for _, f := range c.Flags {
			for _, n := range f.Names() {
				fmt.Fprintf(&b, " \\\n\t\t\t'%s'", zshSpec(f, dashes(n)))
			}
		}
		switch {
		case c.Name == "run":
			b.WriteString(" \\\n\t\t\t'*::command:_normal'")
		case values[c.Name] != "":
			fmt.Fprintf(&b, " \\\n\t\t\t'1:%s:(%s)'", c.Name, values[c.Name])
		}
		b.WriteString("\n\t\t;;\n")
	}
	// The first words, adit and the command, are not _arguments' business.
	return strings.Replace(b.String(), "\tcase $words[2] in\n",
		"\tlocal cmd=$words[2]\n\tshift words\n\t((CURRENT--))\n\tcase $cmd in\n", 1) +
		"\tesac\n}\nif [[ $funcstack[1] == _adit ]]; then _adit \"$@\"; else compdef _adit adit; fi\n"
}

// zshSpec returns what _arguments wants to know about one option.
func zshSpec(f cli.Flag, option string) string {
	usage := ""
	if d, ok := f.(cli.DocGenerationFlag); ok {
		usage = strings.NewReplacer("[", "", "]", "", ":", " ").Replace(d.GetUsage())
	}
	if _, isBool := f.(*cli.BoolFlag); isBool {
		return option + "[" + usage + "]"
	}
	action := "_files"
	if v := values[option]; v != "" {
		action = "(" + v + ")"
	}
	return "*" + option + "[" + usage + "]:value:" + action
}

func fishCompletion(app *cli.App) string {
	var b strings.Builder
	b.WriteString("# fish completion of adit\n")
	for _, c := range app.VisibleCommands() {
		fmt.Fprintf(&b, "complete -c adit -n __fish_use_subcommand -f -a %s -d '%s'\n", c.Name, c.Usage)
	}
	for _, c := range app.VisibleCommands() {
		in := fmt.Sprintf("complete -c adit -n '__fish_seen_subcommand_from %s'", c.Name)
		if v := values[c.Name]; v != "" {
			fmt.Fprintf(&b, "%s -f -a '%s'\n", in, v)
		}
		for _, f := range c.Flags {
			b.WriteString(in)
			for _, n := range f.Names() {
				switch dashes(n)[:2] {
				case "--":
					b.WriteString(" -l " + n)
				default:
					if len(n) == 1 {
						b.WriteString(" -s " + n)
					} else {
						b.WriteString(" -o " + n)
					}
				}
			}
			if _, isBool := f.(*cli.BoolFlag); !isBool {
				b.WriteString(" -r")
			}
			if d, ok := f.(cli.DocGenerationFlag); ok {
				fmt.Fprintf(&b, " -d '%s'", d.GetUsage())
			}
			b.WriteString("\n")
		}
	}
	b.WriteString("complete -c adit -n '__fish_seen_subcommand_from run' -x -a '(__fish_complete_subcommand --fcs-skip=2)'\n")
	return b.String()
}
