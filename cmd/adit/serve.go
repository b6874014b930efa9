package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"adit/config"
	"adit/gateway"
	"adit/launcher"
	"adit/wg"

	"github.com/urfave/cli/v2"
)

// defaultListen is WireGuard's usual port.
const defaultListen = ":51820"

func serveFlags() []cli.Flag {
	return append([]cli.Flag{
		&cli.StringFlag{Name: "listen", Usage: "where peers reach the gateway: [ADDR]:PORT"},
		&cli.StringFlag{Name: "private-key", Usage: "file of the gateway's private key; made if missing"},
		&cli.StringSliceFlag{Name: "peer", Usage: "accept a peer: PUBKEY[,PSKFILE]=ADDR[,ADDR]"},
		&cli.StringSliceFlag{Name: "new-peer", Usage: "make one more peer and print its configuration"},
		&cli.StringFlag{Name: "endpoint", Usage: "the gateway's address for that: HOST:PORT"},
		&cli.StringFlag{Name: "mtu", Usage: "size of packets in bytes"},
		noOffloadFlag(),
	}, logFlags()...)
}

// serve is adit serve: a gateway until INT or TERM.
func (a *adit) serve(c *cli.Context) error {
	if err := noArguments(c); err != nil {
		return err
	}
	var l launcher.Options // for its log options
	if err := a.logOptions(c, &l); err != nil {
		return err
	}
	a.ui.quiet = l.Quiet
	log := os.Stderr
	if l.LogFile != "" {
		f, err := os.OpenFile(l.LogFile, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
		if err != nil {
			return msgLogFile.because(err)
		}
		defer f.Close()
		log = f
	}
	o, newKey, err := serveOptions(c)
	if err != nil {
		return err
	}
	o.Logger, o.NoOffload = launcher.NewLogger(log, l.LogFormat, l.LogLevel), c.Bool("no-offload")
	made, err := makePeer(c, o)
	switch {
	case err != nil:
		return err
	case made != nil:
		o.Peers = append(o.Peers, made.peer)
	case len(o.Peers) == 0:
		return noPeer(c)
	}
	// The port comes first: where it is in use, no file is left behind.
	g, err := gateway.New(o)
	if err != nil {
		return noGateway(c, o, err)
	}
	if newKey {
		if err := writeNew(c.String("private-key"), o.PrivateKey.Base64()); err != nil {
			return badValue(c, "private-key", err)
		}
	}
	if made != nil {
		if err := a.tellPeer(c, made); err != nil {
			return err
		}
	}
	if !l.Quiet {
		a.ui.note(fmt.Sprintf(noteServing, g.Addr(), o.PrivateKey.Public()))
	}
	ctx, stop := signal.NotifyContext(a.ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := g.Run(ctx); err != nil {
		return msgServe.because(err)
	}
	return nil
}

// tellPeer prints the configuration of n. If the gateway's key outlives this
// run, so does the peer: it is remembered beside that, and the user is told
// what accepts it again.
func (a *adit) tellPeer(c *cli.Context, n *newPeer) error {
	if n.file != nil {
		if err := n.file.write(n.peer); err != nil {
			return badValue(c, "new-peer", err)
		}
	}
	a.warnWorldOutput()
	if err := a.ui.print(n.text); err != nil {
		if n.file != nil { // nobody has the private key
			err = errors.Join(err, n.file.remove())
		}
		return err
	}
	if n.file == nil || a.ui.quiet {
		return nil
	}
	_, option, err := n.file.read()
	if err != nil {
		return badValue(c, "new-peer", err)
	}
	line := acceptLine(c, option)
	if line == "" { // a name that a shell would misread
		line = "--peer " + option
	}
	a.ui.note(fmt.Sprintf(noteNewPeer, line))
	return nil
}

// noPeer is the error of a gateway to which nobody could come. Its hints accept
// who is remembered, or make a peer.
func noPeer(c *cli.Context) error {
	again := ""
	if _, options, err := remembered(c, nil); err == nil && len(options) > 0 {
		again = acceptLine(c, options...)
	}
	changed := map[string]string{"new-peer": "laptop"}
	if key := c.String("private-key"); key == "" {
		changed["private-key"] = "gw.key" // or the peer would be of use only once
	} else {
		changed["new-peer"] = peerFile{filepath.Dir(key), "laptop"}.free()
	}
	return msgNoPeer.fail(again, serveLine(c, changed))
}

// noGateway says which option is at fault where gateway.New failed.
func noGateway(c *cli.Context, o gateway.Options, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		other := o.Listen.Port() + 1
		if other == 0 {
			other = o.Listen.Port() - 1
		}
		listen := c.String("listen")
		if listen == "" {
			listen = defaultListen
		}
		listen = listen[:strings.LastIndexByte(listen, ':')+1] + strconv.Itoa(int(other))
		return msgPort.because(err, serveLine(c, map[string]string{"listen": listen}))
	case errors.Is(err, syscall.EADDRNOTAVAIL), errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EAFNOSUPPORT):
		return badValue(c, "listen", err)
	}
	return msgServe.because(err)
}

// serveOptions returns what the options of c say about the gateway. newKey says
// that its private key is new and has a file to be written.
func serveOptions(c *cli.Context) (o gateway.Options, newKey bool, err error) {
	o.DNS = true
	listen := defaultListen
	if c.IsSet("listen") {
		listen = c.String("listen")
	}
	if o.Listen, err = parseListen(listen); err != nil {
		return o, false, badValue(c, "listen", err)
	}
	if c.IsSet("mtu") {
		if o.MTU, err = config.ParseMTU(c.String("mtu")); err != nil {
			return o, false, badValue(c, "mtu", err)
		}
	}
	if o.PrivateKey, newKey, err = gatewayKey(c.String("private-key")); err != nil {
		return o, false, badValue(c, "private-key", err)
	}
	for _, s := range c.StringSlice("peer") {
		p, err := parsePeer(s)
		if err != nil {
			return o, false, badValue(c, "peer", err)
		}
		o.Peers = append(o.Peers, p)
	}
	if err := gateway.CheckPeers(o.Peers); err != nil {
		return o, false, badValue(c, "peer", err)
	}
	return o, newKey, nil
}

// parseListen returns the address of s; without a host it is all addresses.
func parseListen(s string) (netip.AddrPort, error) {
	full := s
	if port, ok := strings.CutPrefix(s, ":"); ok {
		full = "[::]:" + port
	}
	a, err := netip.ParseAddrPort(full)
	if err != nil {
		return a, fmt.Errorf("%q is not an address and a port: want 192.0.2.1:51820, [2001:db8::1]:51820 or :51820", s)
	}
	return a, nil
}

// gatewayKey reads the key of path, and makes it if there is no such file; then
// the file is for the caller to write. No path: a key that nobody will know
// again.
func gatewayKey(path string) (k wg.PrivateKey, isNew bool, err error) {
	if path == "" {
		return wg.NewPrivateKey(), false, nil
	}
	if isKey(path) {
		return k, false, errKeyForFile
	}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return wg.NewPrivateKey(), true, nil
	}
	if err != nil {
		return k, false, err
	}
	if k, err = wg.ParsePrivateKey(strings.TrimSpace(string(text))); err != nil {
		return k, false, fmt.Errorf("%s: %w", path, err)
	}
	return k, false, nil
}

// writeNew writes a line to a file that did not exist, for the owner alone. A
// file that could not be written is removed.
func writeNew(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text + "\n")
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

// reachedBy returns the address by which others reach a socket that is bound
// to addr: for all addresses, the one that this host's routes choose. Connecting
// a datagram socket sends nothing.
func reachedBy(addr netip.Addr) netip.Addr {
	if addr.IsValid() && !addr.IsUnspecified() {
		return addr
	}
	for _, far := range []string{"192.0.2.1", "2001:db8::1"} {
		conn, err := net.Dial("udp", net.JoinHostPort(far, strconv.Itoa(9)))
		if err != nil {
			continue
		}
		local := conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()
		conn.Close()
		return local
	}
	return netip.AddrFrom4([4]byte{127, 0, 0, 1})
}
