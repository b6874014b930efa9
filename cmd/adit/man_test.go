package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

// contract is what the contract with the user lists of what exists so far.
var contract = map[string]string{
	"run":            "-c --config --config-fd --set --strict --mode --dns --dns-search --mtu -4 -6 --wait --wait-timeout --expose --as-root --stop-timeout --pcap --status-fd --no-offload -v -vv -q --log-format --log-file",
	"shell":          "-c --config --config-fd --set --strict --mode --dns --dns-search --mtu -4 -6 --wait --wait-timeout --expose --as-root --stop-timeout --pcap --status-fd --no-offload -v -vv -q --log-format --log-file",
	"check":          "-c --config --config-fd --set --strict --mode --dns --dns-search --mtu -4 -6 --wait --wait-timeout",
	"doctor":         "-c --config --config-fd --set --strict --json",
	"leaktest":       "-c --config --config-fd --set --strict --mode --dns --dns-search --mtu -4 -6 --wait --wait-timeout --json",
	"serve":          "--listen --private-key --peer --new-peer --endpoint --mtu --no-offload -v -vv -q --log-format --log-file",
	"device":         "-f --foreground --no-offload",
	"demo":           "",
	"genkey":         "",
	"pubkey":         "",
	"genpsk":         "",
	"setup":          "",
	"setup apparmor": "--print --install",
	"completion":     "",
	"version":        "--json",
	"help":           "",
}

// everyCommand calls f for each command that users see, with its full name.
func everyCommand(f func(name string, c *cli.Command)) {
	var walk func(prefix string, commands []*cli.Command)
	walk = func(prefix string, commands []*cli.Command) {
		for _, c := range commands {
			if !c.Hidden {
				f(prefix+c.Name, c)
				walk(prefix+c.Name+" ", c.Subcommands)
			}
		}
	}
	walk("", (&adit{}).app().Commands)
}

func TestCommandsAndOptionsAreThoseOfTheContract(t *testing.T) {
	seen := make(map[string]bool)
	everyCommand(func(name string, c *cli.Command) {
		seen[name] = true
		want, ok := contract[name]
		if !ok {
			t.Errorf("command %s is not in the contract", name)
			return
		}
		wantOptions := append(strings.Fields(want), "-h", "--help")
		got := optionWords(c.Flags)
		slices.Sort(got)
		slices.Sort(wantOptions)
		if !slices.Equal(got, wantOptions) {
			t.Errorf("adit %s: got options %v, want %v", name, got, wantOptions)
		}
	})
	for name := range contract {
		if !seen[name] {
			t.Errorf("command %s is in the contract but not in the program", name)
		}
	}
}

// option finds options as roff and help texts write them, hyphens unescaped.
var option = regexp.MustCompile(`(?m)(?:^|[\s|\[",(])(--[a-z][a-z-]*|-[a-zA-Z0-9]{1,2})\b`)

// optionsIn returns the options that a text mentions.
func optionsIn(text string) map[string]bool {
	found := make(map[string]bool)
	for _, m := range option.FindAllStringSubmatch(text, -1) {
		found[m[1]] = true
	}
	return found
}

// manual returns docs/adit.1 with its escapes resolved as far as options go.
func manual(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "adit.1"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.NewReplacer(`\-`, "-", `\fB`, " ", `\fI`, " ", `\fR`, " ", `\ `, " ").Replace(string(text))
}

func TestManualHasEveryOptionAndNoOther(t *testing.T) {
	_, options, ok := strings.Cut(manual(t), ".SH OPTIONS")
	if !ok {
		t.Fatal("docs/adit.1 has no section OPTIONS")
	}
	options, _, _ = strings.Cut(options, ".SH MODES")
	documented := make(map[string]bool)
	for line := range strings.Lines(options) {
		// Options are introduced by macros for bold, not mentioned in a text.
		if strings.HasPrefix(line, ".B") {
			for o := range optionsIn(line) {
				documented[o] = true
			}
		}
	}
	known := map[string]bool{"--version": true}
	everyCommand(func(name string, c *cli.Command) {
		for _, o := range optionWords(c.Flags) {
			known[o] = true
			if !documented[o] {
				t.Errorf("option %s of adit %s is not in docs/adit.1", o, name)
			}
		}
	})
	for o := range documented {
		if !known[o] {
			t.Errorf("docs/adit.1 has option %s, which no command has", o)
		}
	}
}

func TestManualHasEveryCommand(t *testing.T) {
	text := manual(t)
	everyCommand(func(name string, _ *cli.Command) {
		if last := strings.Fields(name); !strings.Contains(text, last[len(last)-1]) {
			t.Errorf("command %s is not in docs/adit.1", name)
		}
	})
}

func TestHelpHasEveryOptionAndNoOther(t *testing.T) {
	everyCommand(func(name string, c *cli.Command) {
		if name == "shell" || name == "setup" { // refer to others
			return
		}
		text, _, _ := strings.Cut(helpTexts[name], "\nExample: ")
		mentioned := optionsIn(text)
		known := make(map[string]bool)
		for _, o := range optionWords(c.Flags) {
			known[o] = true
			if !mentioned[o] && o != "-h" && o != "--help" {
				t.Errorf("adit %s --help: does not mention %s", name, o)
			}
		}
		for o := range mentioned {
			if !known[o] && o != "--" {
				t.Errorf("adit %s --help: mentions %s, which it does not have", name, o)
			}
		}
	})
}
