package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"time"

	"adit/config"
	"adit/gateway"
	"adit/launcher"
	"adit/wg"

	"github.com/urfave/cli/v2"
)

const (
	// demoHost is where the demo's page is, beyond the gateway and nowhere
	// else: an address of documentation, RFC 5737.
	demoHost = "198.51.100.7"
	demoURL  = "http://" + demoHost + "/"
	demoPage = "hello from beyond the tunnel\n"
	// demoFetch is the hidden command that fetches the page.
	demoFetch = "demo-fetch"
	// demoPatience is how long to try what ought to be unreachable.
	demoPatience = 500 * time.Millisecond
)

// demo is adit demo: a gateway in this process, a tunnel to it over loopback,
// and one command through it.
func (a *adit) demo(c *cli.Context) error {
	d := &demo{ui: a.ui}
	ctx, stop := context.WithCancel(a.ctx)
	defer stop()
	cfg, err := d.start(ctx)
	if err != nil {
		return msgDemo.because(err)
	}
	events, w, err := os.Pipe()
	if err != nil {
		return msgDemo.because(err)
	}
	o := launcher.Options{Config: cfg, Argv: c.Args().Slice(), StatusFD: int(w.Fd()), LogLevel: slog.LevelWarn, Notify: a.ui.notice}
	if len(o.Argv) == 0 {
		exe, err := a.exe()
		if err != nil {
			return msgDemo.because(err)
		}
		o.Argv = []string{exe, demoFetch}
	}
	d.say(sayDemoTry, demoURL)
	if err := d.unreachable(); err != nil {
		return msgDemo.because(err)
	}
	d.begin = time.Now()
	heard := make(chan struct{})
	go func() { defer close(heard); d.listen(events) }()
	a.result, err = a.launch(ctx, o)
	w.Close()
	<-heard
	return err
}

// A demo is the far side of the demonstration.
type demo struct {
	ui    *ui
	begin time.Time
}

func (d *demo) say(format string, args ...any) {
	d.ui.line("demo", fmt.Sprintf(format, args...))
}

// start serves the page and the gateway until ctx ends, and returns the
// configuration of the gateway's only peer.
func (d *demo) start(ctx context.Context) (*config.Config, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	server := &http.Server{Handler: http.HandlerFunc(d.page), ReadHeaderTimeout: 10 * time.Second}
	context.AfterFunc(ctx, func() { server.Close() })
	go server.Serve(l)

	o := gateway.Options{
		PrivateKey: wg.NewPrivateKey(),
		Listen:     netip.MustParseAddrPort("127.0.0.1:0"),
		DNS:        true,
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			if host, _, _ := net.SplitHostPort(address); host == demoHost {
				address = l.Addr().String()
			}
			return new(net.Dialer).DialContext(ctx, network, address)
		},
	}
	// The port is known only once the gateway has one, and the peer before.
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	o.Listen = netip.AddrPortFrom(o.Listen.Addr(), port)
	p, text, err := gateway.NewPeer("demo", o, o.Listen.String())
	if err != nil {
		return nil, err
	}
	o.Peers = []gateway.Peer{p}
	g, err := gateway.New(o)
	if err != nil {
		return nil, err
	}
	go g.Run(ctx)
	d.say(sayDemoGateway, g.Addr())
	cfg, err := config.Parse("demo", strings.NewReader(text))
	if err != nil {
		return nil, err
	}
	return cfg, cfg.Finish()
}

// freePort returns a UDP port of loopback that is free now.
func freePort() (uint16, error) {
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return 0, err
	}
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).AddrPort().Port(), nil
}

// page is what lies beyond the gateway.
func (d *demo) page(w http.ResponseWriter, r *http.Request) {
	d.say(sayDemoServer, r.Host, r.RemoteAddr)
	io.WriteString(w, demoPage)
}

// unreachable shows that without adit the page is not there. No packet leaves
// this machine for it: the attempt is for neighbours only (SO_DONTROUTE), and
// beyond them nobody has an address of documentation.
func (d *demo) unreachable() error {
	near := net.Dialer{Control: func(_, _ string, c syscall.RawConn) (err error) {
		c.Control(func(fd uintptr) {
			err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_DONTROUTE, 1)
		})
		return err
	}}
	text, err := get(demoPatience, near)
	switch {
	case err == nil && text == demoPage:
		return errors.New("the page is there without a tunnel")
	case err == nil: // some networks answer for every address
		err = errors.New("something else answers")
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = errors.New("no answer")
	}
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	d.say(sayDemoWithout, err)
	return nil
}

// get fetches the page as any HTTP client does.
func get(patience time.Duration, d net.Dialer) (string, error) {
	// No proxy of the environment's.
	client := &http.Client{Timeout: patience, Transport: &http.Transport{DialContext: d.DialContext}}
	resp, err := client.Get(demoURL)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
	return string(text), err
}

// listen tells of the events of --status-fd.
func (d *demo) listen(r io.ReadCloser) {
	defer r.Close()
	for lines := bufio.NewScanner(r); lines.Scan(); {
		var e struct{ Event, Mode string }
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			continue
		}
		switch e.Event {
		case "mode":
			d.say(sayDemoMode, e.Mode)
		case "handshake":
			d.say(sayDemoHandshake, time.Since(d.begin).Round(100*time.Microsecond))
		}
	}
}

// fetch is the command of the demo: an HTTP client that knows nothing of adit.
func (a *adit) fetch(*cli.Context) error {
	text, err := get(10*time.Second, net.Dialer{})
	if err != nil {
		return msgDemo.because(err)
	}
	return a.ui.print(text)
}
