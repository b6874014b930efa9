package main

import (
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"time"

	"adit/config"
	"adit/launcher"

	"github.com/urfave/cli/v2"
)

// All values are strings to cli: it would put its own words around the errors.

func configFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "config", Aliases: []string{"c"}, Usage: "wg-quick file, NAME, or - for standard input"},
		&cli.StringFlag{Name: "config-fd", Usage: "read the configuration from descriptor N"},
		&cli.StringSliceFlag{Name: "set", Usage: "override one value: interface.KEY=VALUE, peer[N].KEY=VALUE"},
		&cli.BoolFlag{Name: "strict", Usage: "an ignored or unknown key is an error"},
	}
}

func tunnelFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "mode", Usage: "auto, namespace, seccomp or preload"},
		&cli.StringFlag{Name: "dns", Usage: "nameservers, host or off"},
		&cli.StringSliceFlag{Name: "dns-search", Usage: "search domains"},
		&cli.StringFlag{Name: "mtu", Usage: "size of packets in bytes"},
		&cli.BoolFlag{Name: "4", Usage: "IPv4 only inside the tunnel"},
		&cli.BoolFlag{Name: "6", Usage: "IPv6 only inside the tunnel"},
		&cli.StringFlag{Name: "wait", Usage: "handshake, tcp:HOST:PORT or none"},
		&cli.StringFlag{Name: "wait-timeout", Usage: "how long to wait for the tunnel"},
	}
}

func logFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "v", Usage: "say more"},
		&cli.BoolFlag{Name: "vv", Usage: "say everything"},
		&cli.BoolFlag{Name: "q", Usage: "say nothing but errors"},
		&cli.StringFlag{Name: "log-format", Usage: "text or json"},
		&cli.StringFlag{Name: "log-file", Usage: "write the log to a file"},
	}
}

func runFlags() []cli.Flag {
	flags := append(configFlags(), tunnelFlags()...)
	flags = append(flags,
		&cli.StringSliceFlag{Name: "expose", Usage: "let the tunnel reach a port of the command's: PORT[/tcp|udp] or all"},
		&cli.BoolFlag{Name: "as-root", Usage: "be uid 0 inside"},
		&cli.StringFlag{Name: "stop-timeout", Usage: "time between TERM and KILL"},
		&cli.StringFlag{Name: "pcap", Usage: "capture packets: inner=FILE,outer=FILE"},
		&cli.StringFlag{Name: "status-fd", Usage: "write events as JSON lines to descriptor N"},
		noOffloadFlag(),
	)
	return append(flags, logFlags()...)
}

func noOffloadFlag() cli.Flag {
	return &cli.BoolFlag{Name: "no-offload", Usage: "packets pass the kernel one by one"}
}

func checkFlags() []cli.Flag { return append(configFlags(), tunnelFlags()...) }

// badValue is the error of an option whose value is no good.
func badValue(c *cli.Context, name string, err error) error {
	return msgBadValue.because(err, dashes(name), "adit "+commandPath(c))
}

// overlay lays the options of c over cfg: an option goes before a #adit: line,
// which goes before the file's own key.
func overlay(c *cli.Context, cfg *config.Config) error {
	for _, o := range []struct {
		name string
		set  func(value string) error
	}{
		{"mode", func(v string) (err error) { cfg.Options.Mode, err = config.ParseMode(v); return err }},
		{"mtu", func(v string) (err error) { cfg.MTU, err = config.ParseMTU(v); return err }},
		{"wait", func(v string) (err error) { cfg.Options.Wait, err = config.ParseWait(v); return err }},
		{"wait-timeout", func(v string) (err error) { cfg.Options.WaitTimeout, err = config.ParseTimeout(v); return err }},
		{"dns", func(v string) error {
			mode, addrs, err := config.ParseDNS(v)
			cfg.Options.DNSMode = mode
			if addrs != nil {
				cfg.DNS = addrs
			}
			return err
		}},
	} {
		if !c.IsSet(o.name) {
			continue
		}
		if err := o.set(c.String(o.name)); err != nil {
			return badValue(c, o.name, err)
		}
	}
	if c.IsSet("dns-search") {
		domains, err := config.ParseSearch(strings.Join(c.StringSlice("dns-search"), ","))
		if err != nil {
			return badValue(c, "dns-search", err)
		}
		cfg.DNSSearch = domains
	}
	if c.Bool("4") && c.Bool("6") {
		return msgTwoConfigs.fail("-4", "-6", "adit "+commandPath(c))
	}
	if c.IsSet("4") || c.IsSet("6") {
		cfg.Options.IPv4Only, cfg.Options.IPv6Only = c.Bool("4"), c.Bool("6")
	}
	return nil
}

// launchOptions returns what the options of run say about the command's life;
// its Config and Argv are for the caller to fill in.
func (a *adit) launchOptions(c *cli.Context) (o launcher.Options, err error) {
	o.AsRoot, o.NoOffload, o.StatusFD = c.Bool("as-root"), c.Bool("no-offload"), -1
	if c.IsSet("stop-timeout") {
		if o.StopTimeout, err = stopTimeout(c.String("stop-timeout")); err != nil {
			return o, badValue(c, "stop-timeout", err)
		}
	}
	if c.IsSet("pcap") {
		if o.PcapInner, o.PcapOuter, err = pcapFiles(c.String("pcap")); err != nil {
			return o, badValue(c, "pcap", err)
		}
	}
	if c.IsSet("status-fd") {
		if o.StatusFD, err = strconv.Atoi(c.String("status-fd")); err != nil || o.StatusFD < 3 {
			return o, badValue(c, "status-fd", fmt.Errorf("%q is not a descriptor from 3 on", c.String("status-fd")))
		}
	}
	for _, v := range c.StringSlice("expose") {
		if err = addExposed(&o.Expose, v); err != nil {
			return o, badValue(c, "expose", err)
		}
	}
	if err := a.logOptions(c, &o); err != nil {
		return o, err
	}
	a.ui.quiet = o.Quiet
	o.Notify = a.ui.notice
	return o, nil
}

func (a *adit) logOptions(c *cli.Context, o *launcher.Options) error {
	o.LogLevel, o.LogFormat, o.LogFile = slog.LevelWarn, "text", c.String("log-file")
	if v := a.getenv("ADIT_LOG"); v != "" {
		level, ok := logLevels[strings.ToLower(v)]
		if !ok {
			return msgBadLog.fail(v)
		}
		o.LogLevel = level
	}
	verbose := c.Bool("v") || c.Bool("vv")
	switch {
	case c.Bool("q") && verbose:
		return msgTwoConfigs.fail("-q", "-v", "adit "+commandPath(c))
	case c.Bool("vv"):
		o.LogLevel = slog.LevelDebug
	case verbose:
		o.LogLevel = slog.LevelInfo
	case c.Bool("q"):
		o.LogLevel, o.Quiet = slog.LevelError, true
	}
	if f := c.String("log-format"); f == "json" {
		o.LogFormat = f
	} else if c.IsSet("log-format") && f != "text" {
		return badValue(c, "log-format", fmt.Errorf("%q is neither text nor json", f))
	}
	if o.LogFile != "" {
		f, err := os.OpenFile(o.LogFile, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
		if err != nil {
			hint := ""
			if takesConfig(c) {
				files := c.StringSlice("config")
				if len(files) == 0 && a.getenv("ADIT_CONFIG") == "" {
					files = []string{"wg0.conf"}
				}
				hint = typedLine(c, append(withFiles(files...), "--log-file", "./adit.log"), c.Args().Slice())
			}
			return msgLogFile.because(err, hint)
		}
		f.Close()
	}
	return nil
}

// logLevels are the values of ADIT_LOG.
var logLevels = map[string]slog.Level{
	"error": slog.LevelError, "warn": slog.LevelWarn, "info": slog.LevelInfo, "debug": slog.LevelDebug,
}

// addExposed adds PORT, PORT/tcp, PORT/udp or all, or several of them with commas, to
// what is exposed. A port alone is TCP's, as in docker.
func addExposed(e *launcher.Exposed, list string) error {
	for _, v := range strings.Split(list, ",") {
		if v == "all" {
			e.All = true
			continue
		}
		number, protocol, _ := strings.Cut(v, "/")
		port, err := strconv.ParseUint(number, 10, 16)
		switch {
		case err != nil || port == 0:
			return fmt.Errorf("%q is neither a port from 1 to 65535 nor all", v)
		case protocol == "udp":
			e.UDP = append(e.UDP, uint16(port))
		case protocol == "tcp" || number == v:
			e.TCP = append(e.TCP, uint16(port))
		default:
			return fmt.Errorf("%q is neither tcp nor udp", protocol)
		}
	}
	return nil
}

// stopTimeout is config.ParseTimeout, where the launcher's zero would mean its
// default and a user's zero means "at once".
func stopTimeout(s string) (time.Duration, error) {
	if s == "0" || s == "0s" {
		return 1, nil
	}
	return config.ParseTimeout(s)
}

// pcapFiles splits inner=FILE,outer=FILE; either may be missing.
func pcapFiles(s string) (inner, outer string, err error) {
	for part := range strings.SplitSeq(s, ",") {
		side, file, ok := strings.Cut(part, "=")
		switch {
		case ok && file != "" && side == "inner" && inner == "":
			inner = file
		case ok && file != "" && side == "outer" && outer == "":
			outer = file
		default:
			return "", "", fmt.Errorf("%q is not inner=FILE, outer=FILE or both with a comma between", s)
		}
	}
	return inner, outer, nil
}
