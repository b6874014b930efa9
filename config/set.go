package config

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"adit/wg"
)

// setSource is how errors call an assignment that Set was given.
const setSource = "--set"

// Set lays one value over the file's: interface.KEY=VALUE, or
// peer[N].KEY=VALUE where N is a number from 1 or a public key. A list is
// replaced, not added to. Secrets are refused: a command line is public.
// Errors are *Error and hold no secret.
func (c *Config) Set(assignment string) error {
	path, value, err := cutAssignment(assignment)
	if err != nil {
		return &Error{File: setSource, Err: err}
	}
	where, name, _ := cutLast(path, ".")
	bad := func(err error) error { return &Error{File: setSource, Key: setLabel(where, name), Err: err} }

	peer, want, err := c.target(where)
	if err != nil {
		return &Error{File: setSource, Err: err}
	}
	k, ok := keywords[strings.ToLower(name)]
	switch {
	case !ok && !isWord(name):
		return &Error{File: setSource, Err: errNotAssignment}
	case !ok:
		return bad(errors.New("is not a key of wg-quick" + didYouMean(closestKey(name, want))))
	case k.secret:
		return bad(errors.New("is a secret: a command line can be read by others; put it in the file"))
	case k.refuse != "":
		return bad(errors.New(k.refuse))
	case k.section != want:
		return bad(fmt.Errorf("belongs in %s, not in %s", k.section, want))
	case k.note != "":
		return bad(errors.New("has no effect here"))
	}
	if k.reset != nil {
		k.reset(c, peer)
	}
	if err := k.set(c, peer, strings.TrimSpace(value)); err != nil {
		return bad(err)
	}
	if len(c.Addresses) == 0 {
		return bad(errors.New("none is left: a tunnel needs one"))
	}
	return nil
}

var errNotAssignment = errors.New("want interface.KEY=VALUE or peer[N].KEY=VALUE")

// cutAssignment splits at the first equals sign behind the brackets: a public
// key ends in one.
func cutAssignment(s string) (path, value string, err error) {
	from := strings.IndexByte(s, ']') + 1
	eq := strings.IndexByte(s[from:], '=')
	if eq < 0 || !strings.Contains(s[:from+eq], ".") {
		return "", "", errNotAssignment
	}
	return strings.TrimSpace(s[:from+eq]), s[from+eq+1:], nil
}

// target returns what stands before the dot: a peer and its section, or nil
// and that of the interface.
func (c *Config) target(where string) (*Peer, section, error) {
	if strings.EqualFold(where, "interface") {
		return nil, inInterface, nil
	}
	index, ok := cutPrefixFold(where, "peer")
	if !ok {
		return nil, noSection, errNotAssignment
	}
	if index == "" && len(c.Peers) == 1 {
		return &c.Peers[0], inPeer, nil
	}
	index, open := strings.CutPrefix(index, "[")
	index, closed := strings.CutSuffix(index, "]")
	if !open || !closed {
		return nil, noSection, errNotAssignment
	}
	if n, err := strconv.Atoi(index); err == nil {
		if n < 1 || n > len(c.Peers) {
			if len(c.Peers) == 1 {
				return nil, noSection, fmt.Errorf("peer[%d]: there is 1 peer, peer[1]", n)
			}
			return nil, noSection, fmt.Errorf("peer[%d]: there are %d peers, counted from 1", n, len(c.Peers))
		}
		return &c.Peers[n-1], inPeer, nil
	}
	key, err := wg.ParsePublicKey(index)
	if err != nil {
		return nil, noSection, fmt.Errorf("peer[…]: neither a number nor a public key: %w", err)
	}
	for i := range c.Peers {
		if c.Peers[i].PublicKey == key {
			return &c.Peers[i], inPeer, nil
		}
	}
	return nil, noSection, fmt.Errorf("peer[%s…]: no peer has this key", key.Short())
}

// setLabel names the place of a value with a public key cut short.
func setLabel(where, name string) string {
	if i := strings.IndexByte(where, '['); i >= 0 && len(where) > i+12 {
		where = where[:i+9] + "…]"
	}
	return where + "." + name
}

func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}
