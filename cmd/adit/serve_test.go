package main

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"adit/config"
)

const otherKey = "TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0="

// busyAddress returns an address, always the same, whose port is in use. It is none
// of the ports that the kernel gives to who asks for any, and who may soon close it.
func busyAddress(t *testing.T) string {
	const address = "127.0.0.1:19128"
	c, err := net.ListenPacket("udp", address)
	switch {
	case err == nil:
		t.Cleanup(func() { c.Close() })
	case !errors.Is(err, syscall.EADDRINUSE):
		t.Fatal(err)
	}
	return address
}

// oldPeer makes a folder with a gateway's key and its peer phone.
func oldPeer(t *testing.T, folder string) {
	t.Helper()
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"gw.key": privateKey, "phone.psk": privateKey, "phone.peer": peerKey + "=10.97.0.2/32,fd61:6469:7400::2/128",
	} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func filesIn(t *testing.T, folder string) string {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

func TestServeThatFailsLeavesNoFiles(t *testing.T) {
	busy := busyAddress(t)
	for _, args := range []string{
		"--listen " + busy,
		"--listen 192.0.2.1:51820",
		"--listen 127.0.0.1:0",
		"--listen 127.0.0.1:0 --endpoint nowhere",
		"--listen 127.0.0.1:0 --endpoint gw:1 --new-peer more",
		"--listen 127.0.0.1:0 --endpoint gw:1 --mtu 1",
	} {
		inFolder(t, nil)
		s := call{args: append(strings.Fields("serve --private-key gw.key --new-peer laptop"), strings.Fields(args)...)}.run(t)
		if s.failure == nil || s.out != "" {
			t.Errorf("%s: got %v and %q, want an error and nothing else", args, s.failure, s.out)
		}
		if got := filesIn(t, "."); got != "" {
			t.Errorf("%s: left behind %s", args, got)
		}
	}
}

// serveOnce runs adit serve until it has said everything.
func serveOnce(t *testing.T, out io.Writer, args string) (string, error) {
	t.Helper()
	var said strings.Builder
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	a := &adit{ui: &ui{out: out, err: &said}, getenv: func(string) string { return "" }, ctx: ctx}
	err := a.app().RunContext(ctx, append([]string{"adit", "serve"}, strings.Fields(args)...))
	return said.String(), err
}

func TestNewPeerDoesNotGetTheAddressOfOneThatIsRemembered(t *testing.T) {
	inFolder(t, nil)
	oldPeer(t, "gw")
	var out strings.Builder
	said, err := serveOnce(t, &out, "--listen 127.0.0.1:0 --endpoint gw:1 --private-key gw/gw.key --new-peer laptop")
	if err != nil {
		t.Fatal(err)
	}
	c, err := config.Parse("laptop.conf", strings.NewReader(out.String()))
	if err != nil {
		t.Fatal(err)
	}
	const want = "10.97.0.3/32,fd61:6469:7400::3/128"
	if got := joinAddresses(c.Addresses); got != want {
		t.Errorf("got addresses %s, want %s", got, want)
	}
	line := "adit: note: to accept this peer again: adit serve --listen 127.0.0.1:0 --private-key gw/gw.key --peer " +
		c.PrivateKey.Public().String() + ",gw/laptop.psk=" + want + "\n"
	if !strings.Contains(said, line) {
		t.Errorf("got\n%swant\n%s", said, line)
	}
	// Both are accepted by what a gateway for nobody hints at.
	s := call{args: strings.Fields("serve --listen 127.0.0.1:0 --private-key gw/gw.key")}.run(t)
	if s.failure == nil || len(s.failure.hints) == 0 {
		t.Fatalf("got %v, want an error with hints", s.failure)
	}
	again, ok := strings.CutPrefix(s.failure.hints[0], "adit serve ")
	if !ok || strings.Count(again, "--peer") != 2 {
		t.Fatalf("got hint %q, want both peers", s.failure.hints[0])
	}
	if _, err := serveOnce(t, io.Discard, again); err != nil {
		t.Errorf("adit serve %s: %v", again, err)
	}
}

// noSpace is a full disk.
type noSpace struct{}

func (noSpace) Write([]byte) (int, error) { return 0, syscall.ENOSPC }

func TestPeerWhoseConfigurationIsLostIsNotRemembered(t *testing.T) {
	inFolder(t, nil)
	if _, err := serveOnce(t, noSpace{}, "--listen 127.0.0.1:0 --endpoint gw:1 --private-key gw.key --new-peer laptop"); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("got %v, want ENOSPC", err)
	}
	if got := filesIn(t, "."); got != "gw.key" {
		t.Errorf("got files %s, want gw.key", got)
	}
}

func TestNewPeerWarnsOfAFileThatOthersCanRead(t *testing.T) {
	for mode, want := range map[os.FileMode]bool{0o644: true, 0o600: false} {
		f, err := os.Create(filepath.Join(t.TempDir(), "laptop.conf"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := f.Chmod(mode); err != nil {
			t.Fatal(err)
		}
		said, err := serveOnce(t, f, "--listen 127.0.0.1:0 --endpoint gw:1 --new-peer laptop")
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(said, warnWorldOutput); got != want {
			t.Errorf("mode %v: got warning %t, want %t:\n%s", mode, got, want, said)
		}
	}
}

func TestFileOfAPresharedKeyMayHaveAnEqualsSign(t *testing.T) {
	inFolder(t, map[string]string{"a=b,c.psk": privateKey})
	p, err := parsePeer(peerKey + ",a=b,c.psk=10.97.0.2,fd00::2/128")
	if err != nil || joinAddresses(p.Addresses) != "10.97.0.2/32,fd00::2/128" || p.PresharedKey.Base64() != privateKey {
		t.Errorf("got %+v, %v", p, err)
	}
}
