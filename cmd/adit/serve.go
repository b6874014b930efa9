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
		&cli.StringFlag{Name: "new-peer", Usage: "make one more peer and print its configuration"},
		&cli.StringFlag{Name: "endpoint", Usage: "the gateway's address for that: HOST:PORT"},
		&cli.StringFlag{Name: "mtu", Usage: "size of packets in bytes"},
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
	o, err := serveOptions(c)
	if err != nil {
		return err
	}
	o.Logger = launcher.NewLogger(log, l.LogFormat, l.LogLevel)
	var text string
	if name := c.String("new-peer"); name != "" {
		if text, err = a.newPeer(c, name, &o); err != nil {
			return err
		}
	} else if len(o.Peers) == 0 {
		return msgNoPeer.fail()
	}
	g, err := gateway.New(o)
	if err != nil {
		return msgServe.because(err)
	}
	if err := a.ui.print(text); err != nil {
		return err
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

// serveOptions returns what the options of c say about the gateway.
func serveOptions(c *cli.Context) (o gateway.Options, err error) {
	o.DNS = true
	listen := defaultListen
	if c.IsSet("listen") {
		listen = c.String("listen")
	}
	if o.Listen, err = parseListen(listen); err != nil {
		return o, badValue(c, "listen", err)
	}
	if c.IsSet("mtu") {
		if o.MTU, err = config.ParseMTU(c.String("mtu")); err != nil {
			return o, badValue(c, "mtu", err)
		}
	}
	if o.PrivateKey, err = gatewayKey(c.String("private-key")); err != nil {
		return o, badValue(c, "private-key", err)
	}
	for _, s := range c.StringSlice("peer") {
		p, err := parsePeer(s)
		if err != nil {
			return o, badValue(c, "peer", err)
		}
		o.Peers = append(o.Peers, p)
	}
	return o, nil
}

// parseListen returns the address of s; without a host it is all addresses.
func parseListen(s string) (netip.AddrPort, error) {
	if port, ok := strings.CutPrefix(s, ":"); ok {
		s = "[::]:" + port
	}
	a, err := netip.ParseAddrPort(s)
	if err != nil {
		return a, fmt.Errorf("%q is not an address and a port: want 192.0.2.1:51820, [2001:db8::1]:51820 or :51820", s)
	}
	return a, nil
}

// gatewayKey reads the key of path, and makes it if there is no such file. No
// path: a key that nobody will know again.
func gatewayKey(path string) (wg.PrivateKey, error) {
	if path == "" {
		return wg.NewPrivateKey(), nil
	}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		k := wg.NewPrivateKey()
		return k, writeSecret(path, k.Base64())
	}
	if err != nil {
		return wg.PrivateKey{}, err
	}
	k, err := wg.ParsePrivateKey(strings.TrimSpace(string(text)))
	if err != nil {
		return k, fmt.Errorf("%s: %w", path, err)
	}
	return k, nil
}

// writeSecret writes a file that did not exist, for the owner alone.
func writeSecret(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text + "\n")
	return errors.Join(err, f.Close())
}

// publicKeyLen is the length in characters of a key in base64. It ends in an
// equals sign of its own.
const publicKeyLen = 44

// parsePeer takes PUBKEY[,PSKFILE]=ADDR[,ADDR…].
func parsePeer(s string) (p gateway.Peer, err error) {
	if len(s) <= publicKeyLen {
		return p, errors.New("want PUBKEY[,PSKFILE]=ADDR[,ADDR]")
	}
	if p.PublicKey, err = wg.ParsePublicKey(s[:publicKeyLen]); err != nil {
		return p, err
	}
	file, addrs, ok := strings.Cut(s[publicKeyLen:], "=")
	if !ok || addrs == "" || file != "" && file[0] != ',' {
		return p, errors.New("want PUBKEY[,PSKFILE]=ADDR[,ADDR]")
	}
	if file != "" {
		text, err := os.ReadFile(file[1:])
		if err != nil {
			return p, err
		}
		if p.PresharedKey, err = wg.ParsePresharedKey(strings.TrimSpace(string(text))); err != nil {
			return p, fmt.Errorf("%s: %w", file[1:], err)
		}
	}
	if p.Addresses, err = config.ParsePrefixes(addrs); err != nil {
		return p, err
	}
	return p, nil
}

// newPeer adds a peer to o and returns the text of its configuration. If the
// gateway's key outlives this run, so does the peer: its preshared key is kept
// beside the gateway's key, and the user is told the --peer that accepts it.
func (a *adit) newPeer(c *cli.Context, name string, o *gateway.Options) (string, error) {
	endpoint := c.String("endpoint")
	if endpoint == "" {
		endpoint = netip.AddrPortFrom(reachedBy(o.Listen.Addr()), o.Listen.Port()).String()
		if o.Listen.Port() == 0 {
			return "", msgEndpoint.fail()
		}
	}
	p, text, err := gateway.NewPeer(name, *o, endpoint)
	if err != nil {
		return "", msgNewPeer.because(err)
	}
	if key := c.String("private-key"); key != "" {
		psk := filepath.Join(filepath.Dir(key), filepath.Base(name)+".psk")
		if err := writeSecret(psk, p.PresharedKey.Base64()); err != nil {
			return "", msgNewPeer.because(err)
		}
		var addrs []string
		for _, prefix := range p.Addresses {
			addrs = append(addrs, prefix.String())
		}
		a.ui.note(fmt.Sprintf(noteNewPeer, p.PublicKey, psk, strings.Join(addrs, ",")))
	}
	o.Peers = append(o.Peers, p)
	return text, nil
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
