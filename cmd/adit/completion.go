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
	"--mode":       "auto namespace seccomp preload",
	"--dns":        "host off",
	"--wait":       "handshake none",
	"--log-format": "text json",
	"completion":   "bash zsh fish",
	"setup":        "apparmor",
}

// wordsAfter returns the words that command c may be followed by, "" if there
// are none to offer.
func wordsAfter(app *cli.App, c *cli.Command) string {
	if c.Name == "help" {
		return strings.Join(commandNames(app), " ")
	}
	return values[c.Name]
}

// fileOptions are followed by the name of a file.
var fileOptions = []string{"-c", "--config", "--log-file", "--pcap", "--private-key"}

// bashHead completes what comes before the options: the program's command, and
// the command to be run. COMP_WORDBREAKS has "=" and ":", so that --mode=auto
// is three words.
const bashHead = `# bash completion of adit
_adit() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} cmd=${COMP_WORDS[1]} i f
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
			%s)
				[[ ${COMP_WORDS[i+1]} == = ]] && ((i++))
				((i++))
				while [[ ${COMP_WORDS[i+1]} == [=:] ]]; do ((i += 2)); done
				;;
			-*) ;;
			*) break ;;
			esac
		done
		if ((i < COMP_CWORD)); then
			declare -F _command_offset >/dev/null && _command_offset $i || COMPREPLY=($(compgen -f -- "$cur"))
			return
		fi
	fi
	if [[ $cur == = ]]; then
		cur=
	elif [[ $prev == = ]]; then
		prev=${COMP_WORDS[COMP_CWORD-2]}
	fi
	case $prev in
`

// bashConfigs offers names of configurations and files. The names do not go
// through compgen -W, which would carry out what is in them.
const bashConfigs = `	-c|--config)
		for f in "${XDG_CONFIG_HOME:-$HOME/.config}"/adit/*.conf; do
			f=${f##*/}; f=${f%.conf}
			[[ $f != "*" && $f == "$cur"* ]] && COMPREPLY+=("$f")
		done
		while IFS= read -r f; do COMPREPLY+=("$f"); done < <(compgen -f -- "$cur")
		compopt -o filenames 2>/dev/null
		return ;;
`

func bashCompletion(app *cli.App) string {
	var b strings.Builder
	options := valueWords(app)
	fmt.Fprintf(&b, bashHead, strings.Join(commandNames(app), " "), strings.Join(options, "|"))
	for _, word := range []string{"--mode", "--dns", "--wait", "--log-format"} {
		fmt.Fprintf(&b, "\t%s) COMPREPLY=($(compgen -W %q -- \"$cur\")); return ;;\n", word, values[word])
	}
	b.WriteString(bashConfigs)
	fmt.Fprintf(&b, "\t%s|inner|*,outer|outer|*,inner) COMPREPLY=($(compgen -f -- \"$cur\")); return ;;\n", strings.Join(fileOptions[2:], "|"))
	other := slices.DeleteFunc(options, func(o string) bool { return values[o] != "" || slices.Contains(fileOptions, o) })
	fmt.Fprintf(&b, "\t%s) compopt +o default 2>/dev/null; return ;;\n\tesac\n\tcase $cmd in\n", strings.Join(other, "|"))
	for _, c := range app.VisibleCommands() {
		if after := wordsAfter(app, c); after != "" {
			bashWords(&b, c, after)
			continue
		}
		fmt.Fprintf(&b, "\t%s) COMPREPLY=($(compgen -W %q -- \"$cur\")) ;;\n", c.Name, strings.Join(optionWords(c.Flags), " "))
	}
	b.WriteString("\tesac\n\tif [[ $cmd == run && $cur != -* ]]; then COMPREPLY=($(compgen -c -- \"$cur\")); fi\n}\ncomplete -o default -F _adit adit\n")
	return b.String()
}

// bashWords completes a command that is followed by one of a few words, and
// then by the options of that subcommand, if it is one.
func bashWords(b *strings.Builder, c *cli.Command, after string) {
	fmt.Fprintf(b, "\t%s)\n\t\tif ((COMP_CWORD == 2)); then\n\t\t\tCOMPREPLY=($(compgen -W %q -- \"$cur\"))\n", c.Name,
		after+" "+strings.Join(optionWords(c.Flags), " "))
	for _, s := range c.Subcommands {
		fmt.Fprintf(b, "\t\telif [[ ${COMP_WORDS[2]} == %s ]]; then\n\t\t\tCOMPREPLY=($(compgen -W %q -- \"$cur\"))\n",
			s.Name, strings.Join(optionWords(s.Flags), " "))
	}
	b.WriteString("\t\tfi ;;\n")
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
		case wordsAfter(app, c) != "":
			fmt.Fprintf(&b, " \\\n\t\t\t'1:%s:(%s)'", c.Name, wordsAfter(app, c))
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
	action := " " // nothing to offer
	if v := values[option]; v != "" {
		action = "(" + v + ")"
	} else if slices.Contains(fileOptions, option) {
		action = "_files"
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
		if v := wordsAfter(app, c); v != "" {
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
				b.WriteString(fishValue(f))
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

// fishValue says what the value of an option may be.
func fishValue(f cli.Flag) string {
	for _, o := range optionWords([]cli.Flag{f}) {
		if slices.Contains(fileOptions, o) {
			return " -r"
		}
		if v := values[o]; v != "" {
			return " -x -a '" + v + "'"
		}
	}
	return " -x"
}
