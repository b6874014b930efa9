package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"unicode/utf8"

	"adit/wg"
)

// MaxSize is the largest file in bytes that [Parse] reads.
const MaxSize = 1 << 20

// aditMark opens a comment that is an option of adit's.
const aditMark = "#adit:"

// Parse reads a wg-quick file. Messages call it name. Errors are *Error and
// hold no secret. What does not make the file unusable is in Config.Notes.
// Before a tunnel is made of the result, [Config.Finish] must be called.
func Parse(name string, r io.Reader) (*Config, error) {
	text, err := readText(r)
	if err != nil {
		return nil, &Error{File: name, Err: err}
	}
	p := &parser{c: &Config{Source: name}}
	n := 0
	for line := range strings.Lines(text) {
		n++
		p.n = n
		if err := p.line(line); err != nil {
			var e *Error
			if !errors.As(err, &e) {
				e = &Error{Line: n, Err: err}
			}
			e.File = name
			return nil, e
		}
	}
	if err := p.end(); err != nil {
		err.File = name
		return nil, err
	}
	return p.c, nil
}

// readText returns what r holds if it is text of a sane size, without the
// byte order mark that some editors put in front.
func readText(r io.Reader) (string, error) {
	raw, err := io.ReadAll(io.LimitReader(r, MaxSize+1))
	switch {
	case err != nil:
		var e *fs.PathError
		if errors.As(err, &e) {
			err = e.Err // the name is in front already
		}
		return "", err
	case len(raw) > MaxSize:
		return "", errors.New("is larger than 1 MiB: not a wg-quick file")
	case bytes.HasPrefix(raw, []byte("\xff\xfe")), bytes.HasPrefix(raw, []byte("\xfe\xff")):
		return "", errors.New("is UTF-16: save it as UTF-8")
	}
	raw = bytes.TrimPrefix(raw, []byte("\xef\xbb\xbf"))
	switch {
	case bytes.IndexByte(raw, 0) >= 0, !utf8.Valid(raw):
		return "", errors.New("is not text: not a wg-quick file")
	case len(bytes.TrimSpace(raw)) == 0:
		return "", errors.New("is empty")
	}
	return string(raw), nil
}

// A parser goes through a file line by line.
type parser struct {
	c       *Config
	n       int // line number, from 1
	section section
	hook    bool     // a hook was seen, and said
	seen    struct { // sections and keys that must be there
		iface, peer, private bool
	}
	peerLines []int // where each of c.Peers begins
	aditMTU   int
	aditDNS   []fileDNS
	misspelt  map[string]Note // keys that are none, by what was meant
}

// line takes one line, with or without its end.
func (p *parser) line(s string) error {
	s = strings.TrimSpace(s)
	if option, ok := cutPrefixFold(s, aditMark); ok {
		return p.adit(option)
	}
	code, comment, _ := strings.Cut(s, "#")
	if _, ok := cutPrefixFold("#"+comment, aditMark); ok {
		return errors.New("#adit: must be at the start of a line")
	}
	code = strings.TrimSpace(code)
	switch {
	case code == "":
		return nil
	case code[0] == '[':
		return p.begin(code)
	}
	name, value, ok := strings.Cut(code, "=")
	name = strings.TrimSpace(name)
	if !ok || !isWord(name) {
		return errors.New("is not KEY = VALUE") // and may be a secret: not quoted
	}
	return p.key(name, strings.TrimSpace(value))
}

func (p *parser) begin(header string) error {
	switch {
	case strings.EqualFold(header, string(inInterface)):
		p.section, p.seen.iface = inInterface, true
	case strings.EqualFold(header, string(inPeer)):
		p.section, p.seen.peer = inPeer, true
		p.c.Peers = append(p.c.Peers, Peer{})
		p.peerLines = append(p.peerLines, p.n)
	default:
		return fmt.Errorf("%s is neither [Interface] nor [Peer]", quote(header))
	}
	return nil
}

func (p *parser) key(name, value string) error {
	bad := func(err error) error { return &Error{Line: p.n, Key: name, Err: err} }
	if p.section == noSection {
		return bad(errors.New("stands before [Interface]"))
	}
	k, ok := keywords[strings.ToLower(name)]
	switch {
	case !ok:
		meant := closestKey(name, p.section)
		n := Note{Line: p.n, Key: name, Text: "is not a key of wg-quick" + didYouMean(meant) + ": ignored", Ignored: true}
		p.note(n)
		if p.misspelt == nil {
			p.misspelt = make(map[string]Note)
		}
		p.misspelt[meant] = n
		return nil
	case k.refuse != "":
		return bad(errors.New(k.refuse))
	case k.section != p.section:
		return bad(fmt.Errorf("belongs in %s, not in %s", k.section, p.section))
	case k.note != "":
		n := Note{Key: name, Text: k.note, Ignored: true, Quiet: true}
		if k.note == neverRun && !p.hook {
			p.hook, n.Quiet = true, false // one warning for all of them
		}
		p.note(n)
		return nil
	}
	var peer *Peer
	if p.section == inPeer {
		peer = &p.c.Peers[len(p.c.Peers)-1]
	}
	if err := k.set(p.c, peer, value); err != nil {
		return bad(err)
	}
	if k.name == "PrivateKey" {
		p.seen.private = true
	}
	return nil
}

func (p *parser) note(n Note) {
	n.Line = p.n
	p.c.Notes = append(p.c.Notes, n)
}

// end checks what must be there and settles what the lines left open.
func (p *parser) end() *Error {
	switch {
	case !p.seen.iface:
		return &Error{Err: errors.New("there is no [Interface] section")}
	case !p.seen.private:
		return p.missing(inInterface, "PrivateKey", 0)
	case len(p.c.Addresses) == 0:
		return p.missing(inInterface, "Address", 0)
	case !p.seen.peer:
		return &Error{Err: errors.New("there is no [Peer] section")}
	}
	if err := p.mergePeers(); err != nil {
		return err
	}
	if p.aditMTU != 0 {
		p.c.MTU = p.aditMTU
	}
	for _, d := range p.aditDNS {
		d.apply(p.c)
	}
	return nil
}

// missing is the error of a section, on line, without key; it points to where
// the key is misspelt instead, if that is so.
func (p *parser) missing(s section, key string, line int) *Error {
	if n, ok := p.misspelt[key]; ok {
		return &Error{Line: n.Line, Key: n.Key, Err: errors.New("is not a key of wg-quick" + didYouMean(key))}
	}
	return &Error{Line: line, Err: fmt.Errorf("%s has no %s", s, key)}
}

// mergePeers makes one peer of the sections that name the same key: their
// AllowedIPs add up, of the rest the last one counts. A section with our own
// key, which configurations of a whole mesh have, is left out as the kernel
// does.
func (p *parser) mergePeers() *Error {
	own := p.c.PrivateKey.Public()
	first := make(map[wg.PublicKey]int)
	var peers []Peer
	var lines []int
	for i, q := range p.c.Peers {
		p.n = p.peerLines[i]
		if q.PublicKey.IsZero() {
			return p.missing(inPeer, "PublicKey", p.n)
		}
		if q.PublicKey == own {
			p.note(Note{Key: "PublicKey", Text: "is the key of this end itself: peer ignored", Ignored: true})
			continue
		}
		j, again := first[q.PublicKey]
		if !again {
			first[q.PublicKey] = len(peers)
			peers, lines = append(peers, q), append(lines, p.n)
			continue
		}
		p.note(Note{Key: "PublicKey", Text: fmt.Sprintf("the same peer as on line %d: merged", lines[j])})
		merge(&peers[j], q)
	}
	if len(peers) == 0 {
		return &Error{Err: errors.New("there is no [Peer] but this end itself")}
	}
	p.c.Peers, p.peerLines = peers, lines
	return nil
}

func merge(into *Peer, q Peer) {
	into.AllowedIPs = appendNew(into.AllowedIPs, q.AllowedIPs...)
	if !q.PresharedKey.IsZero() {
		into.PresharedKey = q.PresharedKey
	}
	if q.Endpoint != (Endpoint{}) {
		into.Endpoint = q.Endpoint
	}
	if q.Keepalive != 0 {
		into.Keepalive = q.Keepalive
	}
}

// cutPrefixFold is strings.CutPrefix without regard to case.
func cutPrefixFold(s, prefix string) (string, bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return s, false
	}
	return s[len(prefix):], true
}
