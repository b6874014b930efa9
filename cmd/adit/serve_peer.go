package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"adit/config"
	"adit/gateway"
	"adit/wg"

	"github.com/urfave/cli/v2"
)

// publicKeyLen is the length in characters of a key in base64. It ends in an
// equals sign of its own.
const publicKeyLen = 44

var errPeerForm = errors.New("want PUBKEY[,PSKFILE]=ADDR[,ADDR]")

// parsePeer takes PUBKEY[,PSKFILE]=ADDR[,ADDR…]. Its errors quote nothing that
// could be a key, which may stand in the wrong place.
func parsePeer(s string) (p gateway.Peer, err error) {
	if len(s) < publicKeyLen || s[publicKeyLen-1] != '=' {
		return p, notAKey(s)
	}
	if p.PublicKey, err = wg.ParsePublicKey(s[:publicKeyLen]); err != nil {
		return p, notAKey(s)
	}
	rest := s[publicKeyLen:]
	end := strings.LastIndexByte(rest, '=') // a file's name may have one
	if end < 0 || end+1 == len(rest) || end > 0 && rest[0] != ',' {
		return p, errPeerForm
	}
	if end > 0 {
		if p.PresharedKey, err = readPresharedKey(rest[1:end]); err != nil {
			return p, err
		}
	}
	if p.Addresses, err = config.ParsePrefixes(rest[end+1:]); err != nil {
		return p, err
	}
	if len(p.Addresses) == 0 {
		return p, errPeerForm
	}
	return p, nil
}

// notAKey is the error for a peer that does not begin with a public key. What
// it begins with is quoted only if it is too short to be most of a key.
func notAKey(s string) error {
	head, _, _ := strings.Cut(s, "=")
	head, _, _ = strings.Cut(head, ",")
	if head == "" || len(head) > publicKeyLen/3 {
		return fmt.Errorf("does not begin with a public key: %w", errPeerForm)
	}
	return fmt.Errorf("%q is not a public key: %w", head, errPeerForm)
}

func readPresharedKey(path string) (k wg.PresharedKey, err error) {
	if isKey(path) {
		return k, errKeyForFile
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return k, err
	}
	if k, err = wg.ParsePresharedKey(strings.TrimSpace(string(text))); err != nil {
		return k, fmt.Errorf("%s: %w", path, err)
	}
	return k, nil
}

var errKeyForFile = errors.New("a key stands where the name of its file is wanted")

func isKey(s string) bool {
	_, err := wg.ParsePublicKey(s)
	return err == nil
}

// A peerFile is where a new peer is remembered, beside the gateway's key:
// NAME.psk has its preshared key, NAME.peer its public key and addresses, as
// PUBKEY=ADDR[,ADDR].
type peerFile struct{ dir, name string }

func (f peerFile) psk() string  { return filepath.Join(f.dir, f.name+".psk") }
func (f peerFile) peer() string { return filepath.Join(f.dir, f.name+".peer") }

// read returns what is remembered: the peer without its preshared key, and the
// value of --peer that accepts it.
func (f peerFile) read() (p gateway.Peer, option string, err error) {
	text, err := os.ReadFile(f.peer())
	if err != nil {
		return p, "", err
	}
	value := strings.TrimSpace(string(text))
	if p, err = parsePeer(value); err != nil {
		return p, "", fmt.Errorf("%s: %w", f.peer(), err)
	}
	return p, value[:publicKeyLen] + "," + f.psk() + value[publicKeyLen:], nil
}

// write remembers p. Files that are there stay as they are, and are an error.
func (f peerFile) write(p gateway.Peer) error {
	if err := writeNew(f.psk(), p.PresharedKey.Base64()); err != nil {
		return err
	}
	if err := writeNew(f.peer(), p.PublicKey.String()+"="+joinAddresses(p.Addresses)); err != nil {
		return errors.Join(err, os.Remove(f.psk()))
	}
	return nil
}

func (f peerFile) remove() error { return errors.Join(os.Remove(f.peer()), os.Remove(f.psk())) }

func joinAddresses(list []netip.Prefix) string {
	texts := make([]string, 0, len(list))
	for _, p := range list {
		texts = append(texts, p.String())
	}
	return strings.Join(texts, ",")
}

// remembered returns the peers that are remembered beside the key of c, and the
// values of --peer for those that c does not accept.
func remembered(c *cli.Context, accepted []gateway.Peer) (peers []gateway.Peer, options []string, err error) {
	key := c.String("private-key")
	if key == "" {
		return nil, nil, nil
	}
	dir := filepath.Dir(key)
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, err
	}
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".peer")
		if !ok {
			continue
		}
		p, option, err := peerFile{dir, name}.read()
		if err != nil {
			return nil, nil, err
		}
		peers = append(peers, p)
		if !hasPeer(accepted, p) {
			options = append(options, option)
		}
	}
	return peers, options, nil
}

func hasPeer(list []gateway.Peer, p gateway.Peer) bool {
	return slices.ContainsFunc(list, func(q gateway.Peer) bool { return p.PublicKey == q.PublicKey })
}

// A newPeer is what --new-peer makes.
type newPeer struct {
	peer gateway.Peer
	text string    // its configuration
	file *peerFile // nil: it does not outlive this run
}

// makePeer makes the peer that c asks for, nil if none. Nothing is written yet.
func makePeer(c *cli.Context, o gateway.Options) (*newPeer, error) {
	names := c.StringSlice("new-peer")
	switch {
	case len(names) == 0:
		return nil, nil
	case len(names) > 1:
		return nil, badValue(c, "new-peer", errors.New("is given twice: one new peer at a time"))
	}
	name := names[0]
	if name == "" || name[0] == '.' || strings.ContainsRune(name, '/') {
		return nil, badValue(c, "new-peer", fmt.Errorf("%q is not a name: files are named by it", name))
	}
	n := new(newPeer)
	if key := c.String("private-key"); key != "" {
		n.file = &peerFile{filepath.Dir(key), name}
		if n.file.exists() {
			return nil, n.file.refuse(c, o.Peers)
		}
	}
	endpoint := c.String("endpoint")
	if !c.IsSet("endpoint") {
		if o.Listen.Port() == 0 {
			return nil, msgEndpoint.fail(serveLine(c, map[string]string{"listen": defaultListen}))
		}
		endpoint = netip.AddrPortFrom(reachedBy(o.Listen.Addr()), o.Listen.Port()).String()
	}
	old, _, err := remembered(c, o.Peers)
	if err != nil {
		return nil, badValue(c, "new-peer", err)
	}
	o.Peers = append(slices.Clip(o.Peers), old...) // their addresses are taken
	n.peer, n.text, err = gateway.NewPeer(name, o, endpoint)
	switch {
	case errors.Is(err, gateway.ErrEndpoint):
		return nil, badValue(c, "endpoint", err)
	case err != nil:
		return nil, badValue(c, "new-peer", err)
	}
	return n, nil
}

// refuse returns the error for a peer that is remembered already. Another by its
// name would take away the preshared key that its configuration needs.
func (f peerFile) refuse(c *cli.Context, accepted []gateway.Peer) error {
	again := ""
	if p, option, err := f.read(); err == nil && hasPeer(accepted, p) {
		again = acceptLine(c)
	} else if err == nil {
		again = acceptLine(c, option)
	}
	other := serveLine(c, map[string]string{"new-peer": f.free()})
	return msgOldPeer.fail(f.name, f.psk(), again, other, shellWords([]string{f.psk(), f.peer()}))
}

// free returns f's name, or one like it, of which there is no file.
func (f peerFile) free() string {
	g := f
	for i := 2; g.exists(); i++ {
		g.name = f.name + strconv.Itoa(i)
	}
	return g.name
}

func (f peerFile) exists() bool {
	_, err := os.Lstat(f.psk())
	_, err2 := os.Lstat(f.peer())
	return err == nil || err2 == nil
}

// acceptLine returns the command that does as c and also accepts peers, but
// makes none.
func acceptLine(c *cli.Context, options ...string) string {
	return serveLine(c, map[string]string{"new-peer": "", "endpoint": ""}, options...)
}

// serveLine returns the command of c with some options' values changed, or left
// out where they are "", and more peers. It is "" if it cannot be typed safely.
func serveLine(c *cli.Context, changed map[string]string, peers ...string) string {
	words := []string{"adit", "serve"}
	add := func(name, value string) { words = append(words, dashes(name), value) }
	one := func(name string) {
		value, ok := changed[name]
		if !ok {
			value = c.String(name)
		}
		if value != "" {
			add(name, value)
		}
	}
	for _, name := range []string{"listen", "private-key", "mtu", "log-format", "log-file", "endpoint"} {
		one(name)
	}
	for _, p := range append(c.StringSlice("peer"), peers...) {
		add("peer", p)
	}
	name, ok := changed["new-peer"]
	if all := c.StringSlice("new-peer"); !ok && len(all) > 0 {
		name = all[len(all)-1]
	}
	if name == "" {
		return shellWords(words)
	}
	add("new-peer", name)
	line, file := shellWords(words), shellWords([]string{name + ".conf"})
	if line == "" || file == "" {
		return ""
	}
	return "(umask 077; " + line + " > " + file + ")"
}
