package main

import (
	"errors"
	"fmt"
	"strings"

	"adit/launcher"
)

// A message is an error that arises in this package: its sentence, and what to
// type next. Both may have verbs, for the same operands. An operand that is
// empty makes a hint that uses it useless: the hint is left out.
type message struct {
	text  string
	hints []string
}

// messages holds every message, for the test that wants to hear each of them.
var messages []*message

func say(text string, hints ...string) *message {
	m := &message{text, hints}
	messages = append(messages, m)
	return m
}

// hintDemo is for those who have no configuration yet.
const hintDemo = "without one, to see adit work: adit demo"

// fail returns the error that m and its operands make. Its exit status is 125.
func (m *message) fail(operands ...any) error { return m.because(nil, operands...) }

// because is fail with a cause, whose text follows m's.
func (m *message) because(cause error, operands ...any) error {
	f := &failure{code: launcher.CodeFailed, err: cause, from: m}
	if text := fill(m.text, operands); m.text != "" && cause != nil {
		f.err = fmt.Errorf("%s: %w", text, cause)
	} else if m.text != "" {
		f.err = errors.New(text)
	}
	for _, h := range m.hints {
		if !usesEmpty(h, operands) {
			f.hints = append(f.hints, fill(h, operands))
		}
	}
	return f
}

// fill is fmt.Sprintf for texts whose verbs have explicit numbers.
func fill(text string, operands []any) string {
	if !strings.Contains(text, "%[") {
		return text
	}
	return fmt.Sprintf(text, operands...)
}

// usesEmpty reports whether text has a verb for an operand that is "".
func usesEmpty(text string, operands []any) bool {
	for i, o := range operands {
		if o == "" && strings.Contains(text, fmt.Sprintf("%%[%d]", i+1)) {
			return true
		}
	}
	for n := len(operands) + 1; n < 10; n++ { // there are none
		if strings.Contains(text, fmt.Sprintf("%%[%d]", n)) {
			return true
		}
	}
	return false
}

// example is the command of hints that have none of the user's own.
const example = "curl https://example.com"

// Messages name operands by number, %[1]s, so that a hint may use what it needs.
var (
	msgNoSubcommand   = say("no command was given", "adit --help")
	msgUnknownCommand = say("%[1]q is not a command of adit", "adit run -c wg0.conf -- %[2]s", "adit --help")
	msgMisspelt       = say("%[1]q is not a command of adit", "did you mean: %[2]s", "adit --help")
	msgEarlyOption    = say("option %[1]s: options go after the command word", "%[2]s")
	msgCommandLater   = say("command %[1]s: this version does not have it yet", "adit --help")
	msgOptionLater    = say("option %[1]s: this version does not have it yet", "adit run --help")
	msgUnknownOption  = say("option %[1]s: there is no such option", "%[2]s --help")
	msgNoValue        = say("option %[1]s: needs a value", "%[2]s --help")
	msgNoValueTaken   = say("option %[1]s: takes no value", "%[2]s --help")
	msgTwoForms       = say("an option was given in two forms: %[1]s", "%[2]s --help")
	msgBadOption      = say("an option is malformed", "%[1]s --help")
	msgBadValue       = say("option %[1]s", "%[2]s --help")
	msgUnexpected     = say("adit %[1]s: %[2]q is one word too many", "adit %[1]s --help")
	msgNoHelp         = say("there is no help on %[1]q", "adit --help")

	msgNoCMD         = say("no command to run was given", "%[1]s")
	msgForgotC       = say("no configuration was given, and %[1]q looks like one", "%[2]s")
	msgLateC         = say("no configuration was given: options go before the command, and -c stands behind it", "%[1]s")
	msgTwice         = say("option -c: %[1]s is given twice", "adit run -c outer.conf -c inner.conf -- "+example)
	msgSameKey       = say("option -c: %[1]s and %[2]s have the same PrivateKey: each tunnel needs its own", "adit check -c %[3]s")
	msgTwoVariables  = say("%[1]s and %[2]s exclude each other", "unset %[1]s")
	msgOptionClash   = say("option %[1]s", "%[2]s")
	msgShellCommand  = say("adit shell takes no command: %[1]q", "adit run -c wg0.conf -- %[2]s")
	msgCheckOne      = say("check: one configuration at a time", "adit check -c wg0.conf")
	msgNestedStdin   = say("option -c: of several tunnels none can come from standard input", "adit run -c outer.conf -c inner.conf -- "+example)
	msgNoConfig      = say("no configuration was given", "%[1]s", "or: ADIT_CONFIG=%[2]s %[3]s")
	msgTwoConfigs    = say("%[1]s and %[2]s exclude each other", "%[3]s --help")
	msgStdinTerminal = say("option -c: standard input is the terminal, which the command needs", "give the configuration by a pipe or a file: adit run -c - -- "+example+" < wg0.conf")
	msgConfigFD      = say("option --config-fd: want the number of an open descriptor from 3 on", "adit run --config-fd 3 3< wg0.conf -- "+example)
	msgContent       = say("ADIT_CONFIG_CONTENT: is neither a configuration nor the base64 of one", "export ADIT_CONFIG_CONTENT=\"$(base64 -w0 wg0.conf)\"")
	msgBadConfig     = say("", "mend it, then: %[1]s")
	msgBadSet        = say("", "%[1]s")
	msgNotFound      = say("", "%[1]s")
	msgUnreadable    = say("", "mkdir -p ~/.config/adit && sudo install -m 600 -o $(id -u) %[1]s ~/.config/adit/%[2]s", "then: %[3]s")
	msgBadLog        = say("ADIT_LOG: %[1]q is not a level: want error, warn, info or debug", "ADIT_LOG=debug adit run -c wg0.conf -- "+example)
	msgLogFile       = say("option --log-file", "%[1]s")

	msgPubkey      = say("pubkey reads a private key from standard input", "adit genkey | adit pubkey")
	msgSetupWhat   = say("setup what?", "adit setup apparmor --print")
	msgSetupWord   = say("setup: %[1]q is not something to set up", "adit setup apparmor --print")
	msgSetupHow    = say("want one of --print and --install", "adit setup apparmor --print | sudo sh")
	msgSetupPath   = say("the path of this binary has characters that a profile cannot name safely: %[1]q", "put it elsewhere: sudo install bin/adit /usr/local/bin/adit")
	msgSetupRoot   = say("only root can install a profile", "sudo %[1]s setup apparmor --install", "or: %[1]s setup apparmor --print | sudo sh")
	msgSetupWrite  = say("install the profile", "adit setup apparmor --print")
	msgSetupParser = say("load the profile", "sudo apparmor_parser -r %[1]s")
	msgNoPeer      = say("no peer could come: want --peer or --new-peer", "%[1]s", "%[2]s")
	msgEndpoint    = say("option --new-peer: needs --endpoint where the port is not fixed by --listen", "%[1]s")
	msgOldPeer     = say("option --new-peer: there is a peer %[1]q already: %[2]s", "to accept it again: %[3]s", "to make another: %[4]s", "where its configuration is lost: rm -f %[5]s")
	msgPort        = say("option --listen", "another port: %[1]s")
	msgServe       = say("serve")
	msgNoInterface = say("device: which interface?", "sudo adit device wg0")
	msgInterface   = say("device: %[1]q is not the name of an interface: want up to 15 characters without / and :", "sudo adit device wg0")
	msgDeviceRoot  = say("device %[1]s: needs CAP_NET_ADMIN", "%[2]s", "without it, one command in a tunnel: adit run -c wg0.conf -- "+example)
	msgDeviceTUN   = say("device %[1]s: there are no TUN devices here", "sudo modprobe tun", "in a container, add to docker run: --device /dev/net/tun --cap-add NET_ADMIN")
	msgDeviceBusy  = say("device %[1]s: there is such an interface, and it is in use", "ip -details link show %[1]s", "another name: %[2]s")
	msgDeviceOther = say("device %[1]s: there is such an interface, and it is no TUN", "ip -details link show %[1]s", "another name: %[2]s")
	msgDeviceLive  = say("device %[1]s: another process is this interface", "wg show %[1]s", "another name: %[2]s")
	msgDevice      = say("device %[1]s")
	msgLeaktest    = say("leaktest: the test could not be made", "adit doctor")
	msgDemo        = say("demo", "adit doctor")
	msgShell       = say("%[1]q is not a shell that completion knows", "adit completion bash")
	msgNoShell     = say("completion for which shell?", "adit completion bash")
	msgReadStdin   = say("read standard input")
)

// Warnings and notes of this package.
const (
	warnNoEndpoint  = "%s: no peer has an Endpoint: the command starts without a handshake"
	warnWorldOutput = "the key goes to a file that other users can read: umask 077"
	noteServing     = "serving at %s, public key %s"
	noteNewPeer     = "to accept this peer again: %s"
	noteWorldConfig = "%s: other users can read it: chmod 600 %s"
)

// What a wait of leaktest's is for.
const waitLeaktest = "waiting for %s"

// What the demo tells.
const (
	sayDemoGateway   = "a gateway listens at %s, in this process"
	sayDemoTry       = "beyond it is %s"
	sayDemoWithout   = "without adit: %s"
	sayDemoMode      = "with adit: mode %s"
	sayDemoHandshake = "handshake done after %v"
	sayDemoServer    = "the server of %s sees a client at %s: the gateway, on its way out"
)
