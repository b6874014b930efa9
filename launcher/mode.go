package launcher

import (
	"context"
	"io"
	"os"
)

// A mode is one way of getting hold of a program's traffic; the table below is
// in the order in which --mode auto tries them, strongest first.
type mode struct {
	name   string
	covers string
	notes  []string                                         // what it does not promise
	probe  func(context.Context) (detail string, err error) // a real attempt; err is an *Error
}

// modes is the table of modes.
var modes = []mode{
	{
		name:   "namespace",
		covers: "everything: any program, TCP, UDP, ICMP, names, IPv4 and IPv6",
		notes:  []string{noteAsking},
		probe:  probeNamespace,
	},
	{
		name:   "seccomp",
		covers: "TCP, UDP and names of any program, IPv4 and IPv6",
		notes:  []string{noteRefused, noteLoopback, noteAskAll, notePtrace, noteSetID},
		probe:  probeSeccomp,
	},
	{
		name:   "preload",
		covers: "TCP and names of dynamically linked programs, IPv4 and IPv6",
		notes:  []string{noteOnlyTCP, noteLoopback, noteAskAll, notePtrace, noteSetID},
		probe:  probePreload,
	},
}

// modeAuto is the strongest of the table that works.
const modeAuto = "auto"

// chooseMode returns the name of the mode to use, modeAuto where that is found
// out by trying. Only namespace shows the command another uid, so there is
// nothing to find out for who asks for that.
func chooseMode(o *Options) (string, error) {
	asRoot := o.AsRoot && os.Geteuid() != 0
	switch m := o.Config.Options.Mode; m {
	case "", modeAuto:
		if asRoot {
			return "namespace", nil
		}
		return modeAuto, nil
	case "namespace":
		return m, nil
	case "seccomp", "preload":
		if asRoot {
			return "", errAsRoot(m, againWith(append(o.Outer, o.Config), o.Argv))
		}
		return m, nil
	default:
		return "", errNoSuchMode(m)
	}
}

// A ModeReport says whether a mode works here.
type ModeReport struct {
	Mode   string   // its name
	Covers string   // what of a program's traffic it carries
	Notes  []string // what it does not promise
	Works  bool     // by a real attempt
	Detail string   // how: "TUN", or "veth pair (no TUN: …)"
	Reason string   // why not, naming the layer that said no
	Hints  []string // what to type
}

// Probe tries every mode on this machine and reports, strongest first.
func Probe(ctx context.Context) []ModeReport {
	var reports []ModeReport
	for _, m := range modes {
		r := ModeReport{Mode: m.name, Covers: m.covers, Notes: m.notes}
		detail, err := m.probe(ctx)
		r.Detail, r.Works = detail, err == nil
		if err != nil {
			r.Reason, r.Hints = err.Error(), hintsOf(err)
		}
		reports = append(reports, r)
	}
	return reports
}

// Main runs this process as what it was started for, if that is one of adit's
// own processes, and then does not return. Otherwise it reports false at once.
// The program's main calls it first, with os.Args.
func Main(args []string) bool {
	if len(args) == 0 {
		return false
	}
	switch args[0] {
	case engineName:
		engineMain(args[1:])
	case stageName:
		stageMain(args[1:])
	case innerName:
		innerMain(args[1:])
	case keeperName:
		keeperMain(args[1:])
	case probeName:
		probeMain(args[1:])
	case probeFilterName:
		probeFilterMain(args[1:])
	default:
		return false
	}
	panic("BUG: a process of adit's own returned")
}

// closers closes in the reverse order of opening.
type closers []io.Closer

func (c *closers) add(x io.Closer) { *c = append(*c, x) }

func (c *closers) Close() error {
	for i := len(*c) - 1; i >= 0; i-- {
		(*c)[i].Close()
	}
	*c = nil
	return nil
}
