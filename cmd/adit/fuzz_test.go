package main

import (
	"slices"
	"strings"
	"testing"

	"adit/launcher"
)

// The grammar of options: whatever stands on the line, adit says what is wrong
// with it or starts what stands at its end, word for word.
func FuzzOptions(f *testing.F) {
	for _, line := range []string{
		"run\x00-c\x00wg0.conf\x00--\x00curl\x00-v", "run\x00-c=wg0.conf\x00-46vv\x00x", "run\x00--dns\x0010.0.0.1\x00--mtu=1280\x00x\x00--",
		"check\x00-c\x00wg0.conf\x00--set\x00interface.MTU=1300", "shell\x00--wait\x00tcp:x:1\x00--wait-timeout\x005",
		"run\x00--stop-timeout\x000\x00--status-fd\x009\x00--log-format=json\x00-q\x00a=b", "run\x00--help", "keys\x00-x", "doctor\x00--json",
	} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		args := strings.Split(line, "\x00")
		// Only commands that start nothing of their own; and no files but those
		// of the folder.
		if !slices.Contains([]string{"run", "shell", "check", "doctor", "version"}, args[0]) || strings.ContainsAny(line, "/~") ||
			strings.Contains(line, "..") || len(args) > 100 {
			return
		}
		inFolder(t, map[string]string{"wg0.conf": goodConf})
		said := call{args: args, env: map[string]string{"SHELL": "sh"}}.run(t)
		switch {
		case said.failure != nil && (said.result.Code != launcher.CodeFailed || !strings.HasPrefix(said.err, "adit: ")):
			t.Fatalf("%q: code %d, %q", args, said.result.Code, said.err)
		case said.failure == nil && args[0] == "run" && said.options.Argv != nil && !slices.Equal(said.options.Argv, args[len(args)-len(said.options.Argv):]):
			t.Fatalf("%q starts %q", args, said.options.Argv)
		}
	})
}

// The values of serve's own options.
func FuzzPeersOfTheGateway(f *testing.F) {
	f.Add("YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWE==10.9.0.2")
	f.Add("YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWE=,none.psk=10.9.0.2/32,fd00::2")
	f.Add(":51820")
	f.Fuzz(func(t *testing.T, s string) {
		if a, err := parseListen(s); err == nil && !a.IsValid() {
			t.Fatalf("%q is the address %v", s, a)
		}
		if strings.Contains(s, ",") && strings.ContainsAny(s, "/~") {
			return // the name of some file
		}
		p, err := parsePeer(s)
		if err != nil {
			if len(s) > 20 && strings.Contains(err.Error(), s) {
				t.Fatalf("the error quotes what may be a key: %v", err)
			}
			return
		}
		if len(p.Addresses) == 0 || p.PublicKey.String() != s[:publicKeyLen] {
			t.Fatalf("%q is the peer %v", s, p)
		}
	})
}
