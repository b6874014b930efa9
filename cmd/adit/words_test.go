package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"adit/launcher"
)

const (
	privateKey = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk="
	peerKey    = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="

	goodConf = "[Interface]\nPrivateKey = " + privateKey + "\nAddress = 10.0.0.2\nDNS = 10.0.0.1\n" +
		"[Peer]\nPublicKey = " + peerKey + "\nAllowedIPs = 0.0.0.0/0\nEndpoint = 192.0.2.1:51820\n"
)

// Every error and hint of this package, as the user sees it, stands in
// testdata/messages.golden, made by calls that bring it about.
func TestEveryMessage(t *testing.T) {
	inFolder(t, map[string]string{
		"wg0.conf":  goodConf,
		"more.conf": goodConf + "Colour = blue\n",
		"bad.conf":  strings.Replace(goodConf, "0.0.0.0/0", "10.0.0.0/33", 1),
	})
	oldPeer(t, "old")
	home := map[string]string{"HOME": "/home/me"}
	with := func(name, value string) map[string]string {
		m := maps.Clone(home)
		m[name] = value
		return m
	}
	run := func(args string) call { return call{args: strings.Fields(args), env: home} }
	var b strings.Builder
	heard := make(map[*message]bool)
	for _, tt := range []struct {
		about string
		call  call
		err   error // made here, where the circumstances cannot be
	}{
		{"no command", run(""), nil},
		{"a word that is no command", run("curl https://example.com"), nil},
		{"the same, and unsafe to repeat", call{args: []string{"curl", "$(reboot)"}}, nil},
		{"a command misspelt", run("rnu -c wg0.conf -- true"), nil},
		{"an option before the command", run("-c wg0.conf run -- true"), nil},
		{"an option before a command of the user's", run("-c wg0.conf true"), nil},
		{"an option behind the command", run("run true -c wg0.conf -x"), nil},
		{"joined options", run("run -qc wg0.conf true"), nil},
		{"an option and its value joined", run("run -cwg0.conf true"), nil},
		{"too verbose", run("run -vvv -c wg0.conf true"), nil},
		{"a command of a later version", run("up work"), nil},
		{"an option of a later version", run("run -c wg0.conf --publish 80 -- true"), nil},
		{"its short form", run("run -c wg0.conf -p 80 -- true"), nil},
		{"an unknown option", run("run --colour -- true"), nil},
		{"an unknown option of the program", run("--colour run"), nil},
		{"no value", run("run --mtu"), nil},
		{"a value too many", run("run --strict=yes,please true"), nil},
		{"two forms", run("run -c wg0.conf --config wg0.conf true"), nil},
		{"malformed", run("run ---x true"), nil},
		{"a word too many", run("check -c wg0.conf more"), nil},
		{"no such help", run("help me"), nil},

		{"no command to run", run("run -c wg0.conf"), nil},
		{"-c forgotten", run("run wg0.conf curl -v https://example.com"), nil},
		{"the same with --", run("run wg0.conf -- true"), nil},
		{"the same for shell", run("shell wg0.conf"), nil},
		{"the same for check", run("check wg0.conf"), nil},
		{"a configuration twice", run("run -c wg0.conf -c wg0.conf true"), nil},
		{"a key twice", run("run -c wg0.conf -c more.conf true"), nil},
		{"a command for shell", run("shell -c wg0.conf bash -l"), nil},
		{"a bad configuration inside another", run("run -c wg0.conf -c bad.conf true"), nil},
		{"two to check", run("check -c wg0.conf -c bad.conf"), nil},
		{"nested by standard input", run("run -c - -c wg0.conf true"), nil},
		{"nested by standard input, innermost", run("run -c wg0.conf -c - true"), nil},
		{"nested by standard input, twice", run("run -c - -c - true"), nil},
		{"no configuration", run("run true"), nil},
		{"no configuration to check", run("check"), nil},
		{"two configurations", run("run -c wg0.conf --config-fd 3 true"), nil},
		{"two configurations in the environment", call{
			args: []string{"run", "true"},
			env:  map[string]string{"ADIT_CONFIG": "wg0.conf", "ADIT_CONFIG_CONTENT": goodConf}}, nil},
		{"standard input is a terminal", call{}, msgStdinTerminal.fail()},
		{"a bad configuration", run("run -c bad.conf true"), nil},
		{"a bad configuration on standard input", call{args: []string{"check", "-c", "-"}, stdin: "junk"}, nil},
		{"a bad descriptor", run("run --config-fd two true"), nil},
		{"a descriptor that is not open", run("run --config-fd 999 true"), nil},
		{"a bad configuration in the environment", call{args: []string{"run", "true"}, env: with("ADIT_CONFIG_CONTENT", "junk")}, nil},
		{"a configuration in the environment without an address", call{args: []string{"run", "true"}, env: with("ADIT_CONFIG_CONTENT", "[Interface]\nPrivateKey = "+privateKey)}, nil},
		{"a bad assignment", run("run -c wg0.conf --set interface.MTU=big true"), nil},
		{"an assignment that leaves no address", run("run -c wg0.conf --set interface.Address= true"), nil},
		{"a secret in an assignment", run("run -c wg0.conf --set interface.PrivateKey=" + privateKey + " true"), nil},
		{"a file that is not there", run("run -c ./wg1.conf true"), nil},
		{"a name that is not there", run("run -c wg1 true"), nil},
		{"a name that is here", run("run -c wg0 true"), nil},
		{"a folder", run("run -c ./ true"), nil},
		{"a file of root's", call{}, unreadable(nil, &fs.PathError{Op: "open", Path: "/etc/wireguard/wg0.conf", Err: fs.ErrPermission}, "/etc/wireguard/wg0.conf")},
		{"strict", run("check --strict --set interface.MTU=1300 -c more.conf"), nil},

		{"mode", run("run -c wg0.conf --mode netns true"), nil},
		{"MTU", run("run -c wg0.conf --mtu 100 true"), nil},
		{"DNS", run("run -c wg0.conf --dns dns.example true"), nil},
		{"search domain", run("run -c wg0.conf --dns-search 10.0.0.1 true"), nil},
		{"wait", run("run -c wg0.conf --wait ping true"), nil},
		{"wait-timeout", run("run -c wg0.conf --wait-timeout never true"), nil},
		{"both families only", run("run -c wg0.conf -4 -6 true"), nil},
		{"a family that is not there", run("run -c wg0.conf -6 true"), nil},
		{"stop-timeout", run("run -c wg0.conf --stop-timeout -1s true"), nil},
		{"pcap", run("run -c wg0.conf --pcap dump.pcap true"), nil},
		{"status-fd", run("run -c wg0.conf --status-fd 1 true"), nil},
		{"log format", run("run -c wg0.conf --log-format xml true"), nil},
		{"log file", run("run -c wg0.conf --log-file ./no/such/folder true"), nil},
		{"quiet and verbose", run("run -c wg0.conf -q -v true"), nil},
		{"ADIT_LOG", call{args: []string{"run", "-c", "wg0.conf", "true"}, env: with("ADIT_LOG", "loud")}, nil},
		{"what the launcher says", call{args: []string{"run", "-c", "wg0.conf", "true"},
			launch: func(launcher.Options) (launcher.Result, error) {
				return launcher.Result{}, &launcher.Error{Code: 124, Err: errors.New("no handshake"), Hints: []string{"look"}}
			}}, nil},

		{"serve nobody", run("serve"), nil},
		{"serve at no address", run("serve --listen 51820"), nil},
		{"serve a bad peer", run("serve --peer laptop"), nil},
		{"serve a peer without an address", run("serve --peer " + peerKey), nil},
		{"serve a peer whose key file is not there", run("serve --peer " + peerKey + ",laptop.psk=10.97.0.2"), nil},
		{"serve with a key file that holds none", run("serve --private-key wg0.conf --new-peer laptop"), nil},
		{"serve a peer that is given by name", run("serve --peer laptop=10.97.0.2"), nil},
		{"serve a private key for a peer's name", run("serve --peer " + privateKey[:40] + "=10.97.0.2"), nil},
		{"serve a preshared key that is not in a file", run("serve --peer " + peerKey + "," + privateKey + "=10.97.0.2"), nil},
		{"serve with a private key that is not in a file", run("serve --new-peer laptop --private-key " + privateKey), nil},
		{"serve one peer twice", run("serve --peer " + peerKey + "=10.97.0.2 --peer " + peerKey + "=10.97.0.3"), nil},
		{"serve two peers with one address", run("serve --peer " + peerKey + "=10.97.0.2 --peer " + otherKey + "=10.97.0.0/24"), nil},
		{"serve at a port that is none", run("serve --listen :http --new-peer laptop"), nil},
		{"serve a new peer at no fixed port", run("serve --listen :0 --private-key gw.key --new-peer laptop"), nil},
		{"serve a new peer without an endpoint that is one", run("serve --new-peer laptop --endpoint nowhere"), nil},
		{"serve a new peer in another folder", run("serve --private-key gw.key --new-peer ../laptop"), nil},
		{"serve a new peer that would be hidden", run("serve --new-peer .laptop"), nil},
		{"serve two new peers", run("serve --new-peer a --new-peer b"), nil},
		{"serve a new peer of a name that is taken", run("serve --private-key ./old/gw.key --new-peer phone"), nil},
		{"serve nobody, though there are peers", run("serve --private-key old/gw.key"), nil},
		{"serve at a port that is in use", run("serve --listen " + busyAddress(t) + " --private-key gw.key --new-peer laptop"), nil},
		{"serve at an address of another host", run("serve --listen 192.0.2.1:51820 --private-key gw.key --new-peer laptop"), nil},
		{"serve fails", call{}, msgServe.because(errors.New("make a gateway: out of memory"))},
		{"device without a name", run("device"), nil},
		{"device with two names", run("device wg0 wg1"), nil},
		{"device with a name that is none", run("device ../wg0"), nil},
		{"device with an unknown option behind the name", run("device wg0 -x"), nil},
		{"device without privilege", call{}, deviceFailure("wg0", &fs.PathError{Op: "open", Path: "/dev/net/tun", Err: fs.ErrPermission})},
		{"device without TUN devices", call{}, deviceFailure("wg0", &fs.PathError{Op: "open", Path: "/dev/net/tun", Err: fs.ErrNotExist})},
		{"device that is there", call{}, deviceFailure("wg9", fmt.Errorf("create tun wg9: %w", os.NewSyscallError("TUNSETIFF", syscall.EBUSY)))},
		{"device that is something else", call{}, deviceFailure("eth0", fmt.Errorf("create tun eth0: %w", os.NewSyscallError("TUNSETIFF", syscall.EINVAL)))},
		{"device whose socket is in use", call{}, deviceFailure("wg0", fmt.Errorf("/var/run/wireguard/wg0.sock: %w", syscall.EADDRINUSE))},
		{"device fails", call{}, deviceFailure("wg0", errors.New("out of memory"))},
		{"leaktest", call{}, untested(errors.New("listen tcp 10.0.0.1:20000: operation not permitted"))},
		{"leaktest without a configuration", run("leaktest"), nil},
		{"leaktest of a configuration that was meant", run("leaktest wg0.conf"), nil},
		{"demo", call{}, msgDemo.because(errors.New("listen tcp 127.0.0.1:0: operation not permitted"))},

		{"pubkey of junk", call{args: []string{"pubkey"}, stdin: "junk"}, nil},
		{"reading fails", call{}, msgReadStdin.because(fs.ErrClosed)},
		{"completion of nothing", run("completion"), nil},
		{"completion of an unknown shell", run("completion csh"), nil},
		{"setup of nothing", run("setup"), nil},
		{"setup of something else", run("setup apparmr"), nil},
		{"setup in two ways", call{args: strings.Fields("setup apparmor --print --install"), exe: "/usr/local/bin/adit"}, nil},
		{"setup without saying how", call{args: strings.Fields("setup apparmor"), exe: "/usr/local/bin/adit"}, nil},
		{"setup of a path with a pattern", call{args: strings.Fields("setup apparmor --print"), exe: "/home/*/adit"}, nil},
		{"setup by a user", call{}, msgSetupRoot.fail("/usr/local/bin/adit")},
		{"setup cannot write", call{}, msgSetupWrite.because(&fs.PathError{Op: "open", Path: profilePath, Err: fs.ErrNotExist})},
		{"setup cannot load", call{}, msgSetupParser.because(errors.New("exec: \"apparmor_parser\": executable file not found in $PATH"), profilePath)},
	} {
		fmt.Fprintf(&b, "# %s\n", tt.about)
		if tt.err != nil {
			u := &ui{err: &b}
			code := u.fail(tt.err)
			heard[asFailure(tt.err).from] = true
			fmt.Fprintf(&b, "exit status %d\n\n", code)
			continue
		}
		s := tt.call.run(t)
		fmt.Fprintf(&b, "$ adit %s\n%sexit status %d\n\n", strings.ReplaceAll(strings.Join(tt.call.args, " "), privateKey, "KEY"), s.err, s.result.Code)
		switch {
		case s.failure == nil:
			t.Errorf("%s: got no error, want one", tt.about)
		case s.out != "":
			t.Errorf("%s: got %q on standard output, want nothing", tt.about, s.out)
		default:
			heard[s.failure.from] = true
		}
		if strings.Contains(s.err, privateKey[:20]) {
			t.Errorf("%s: the message holds a key", tt.about)
		}
	}
	for _, m := range messages {
		if !heard[m] {
			t.Errorf("no case brings about %q, hints %q", m.text, m.hints)
		}
	}
	t.Chdir(origin)
	golden(t, "testdata/messages.golden", b.String())
}

// origin is the folder of the test, before any test leaves it.
var origin, _ = filepath.Abs(".")

func TestMessagesAreLowerCaseAndHaveNoFullStop(t *testing.T) {
	for _, m := range messages {
		for _, text := range append([]string{m.text}, m.hints...) {
			if text != "" && 'A' <= text[0] && text[0] <= 'Z' && !strings.HasPrefix(text, "ADIT_") {
				t.Errorf("%q begins with a capital", text)
			}
			if strings.HasSuffix(text, ".") {
				t.Errorf("%q ends with a full stop", text)
			}
		}
	}
}

func TestEveryCommandHasHelpThatEndsWithAnExample(t *testing.T) {
	var b strings.Builder
	for _, command := range slices.Sorted(maps.Keys(helpTexts)) {
		args := append(strings.Fields(command), "--help")
		s := call{args: args}.run(t)
		if s.failure != nil || s.err != "" {
			t.Errorf("adit %s: got error %v and %q, want help", strings.Join(args, " "), s.failure, s.err)
		}
		lines := strings.Split(strings.TrimSuffix(s.out, "\n"), "\n")
		if last := lines[len(lines)-1]; !strings.HasPrefix(last, "Example: ") || !strings.Contains(last, "adit ") {
			t.Errorf("adit %s: ends with %q, want an example", strings.Join(args, " "), last)
		}
		for _, l := range lines {
			if len(l) > 80 {
				t.Errorf("adit %s: a line is longer than 80 characters: %s", strings.Join(args, " "), l)
			}
		}
		if again := (call{args: append([]string{"help"}, strings.Fields(command)...)}).run(t); again.out != s.out {
			t.Errorf("adit help %s differs from adit %s", command, strings.Join(args, " "))
		}
		fmt.Fprintf(&b, "$ adit %s\n%s\n", strings.Join(args, " "), s.out)
	}
	golden(t, "testdata/help.golden", b.String())
	for _, name := range commandNames((&adit{}).app()) {
		if _, ok := helpTexts[name]; !ok {
			t.Errorf("command %s has no help", name)
		}
	}
}

func TestTerminalIsNotObeyedByWordsFromElsewhere(t *testing.T) {
	var b strings.Builder
	(&ui{err: &b}).warn("a\x1b[2Jb\nadit: error: c\u009b")
	if got, want := b.String(), "adit: warning: a?[2Jb?adit: error: c?\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
