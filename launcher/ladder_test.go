package launcher

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"adit/config"

	"golang.org/x/sys/unix"
)

// theseModes replaces the table of modes by one in which each attempt comes to the
// error given.
func theseModes(t *testing.T, outcome map[string]error) {
	t.Helper()
	before := modes
	t.Cleanup(func() { modes = before })
	modes = slices.Clone(modes)
	for i := range modes {
		err := outcome[modes[i].name]
		modes[i].probe = func(context.Context) (string, error) { return "", err }
	}
}

var (
	noNamespace = errBlocked("namespace", "the layer", "clone", unix.ENOSPC, []string{"allow it"})
	noSeccomp   = errBlocked("seccomp", "a layer", stepListen, unix.EBUSY, nil)
	noPreload   = errNoShim("amd64", "make build")
	noFiles     = modeDenied(fakeMachine(nil), "seccomp", stepRead, unix.EMFILE)
)

func TestLadderTakesTheFirstModeThatWorks(t *testing.T) {
	other := doing("start a process", unix.EAGAIN)
	for _, tt := range []struct {
		name             string
		cause            error
		seccomp, preload error
		mode             string
		err              error  // this very one
		text             string // or this
	}{
		{name: "seccomp", cause: noNamespace, mode: "seccomp"},
		{name: "preload", cause: noNamespace, seccomp: noSeccomp, mode: "preload"},
		{name: "a step of namespace failed", cause: errStep("add veth", unix.EOPNOTSUPP), mode: "seccomp"},
		{name: "what does not lie in the mode", cause: other, err: other},
		{name: "something is used up", cause: errStep("open", unix.EMFILE), text: "mode namespace: open: too many open files"},
		{name: "used up further down", cause: noNamespace, seccomp: noFiles, err: noFiles},
		{name: "none", cause: noNamespace, seccomp: noSeccomp, preload: noPreload,
			text: "no mode works here: namespace: the layer: clone: no space left on device; seccomp: a layer: " +
				"install a filter with a listener: device or resource busy; preload: this adit has no library for amd64: it was built without a C compiler"},
	} {
		theseModes(t, map[string]error{"seccomp": tt.seccomp, "preload": tt.preload})
		mode, err := fallbacks(t.Context(), tt.cause)
		if mode != tt.mode {
			t.Errorf("%s: got mode %q, want %q", tt.name, mode, tt.mode)
		}
		switch {
		case tt.err != nil && err != tt.err, tt.text != "" && (err == nil || err.Error() != tt.text), tt.mode != "" && err != nil:
			t.Errorf("%s: got %v, want %v%s", tt.name, err, tt.err, tt.text)
		}
	}
}

func TestWhereNoModeWorksEveryHintIsGiven(t *testing.T) {
	theseModes(t, map[string]error{"seccomp": noSeccomp, "preload": noPreload})
	_, err := fallbacks(t.Context(), noNamespace)
	if got, want := hintsOf(err), []string{"allow it", "make build", hintDoctor}; !slices.Equal(got, want) {
		t.Errorf("got hints %q, want %q", got, want)
	}
	if refusedMode(err) != "" {
		t.Error("there is taken to be a mode below the last one")
	}
}

func TestLadderEndsWithItsContext(t *testing.T) {
	why := errors.New("given up")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	theseModes(t, map[string]error{"seccomp": noSeccomp, "preload": nil})
	if mode, err := fallbacks(ctx, noNamespace); err != why {
		t.Errorf("got mode %q and %v, want %v", mode, err, why)
	}
}

func TestRefusalOfAModeThatWasAskedForNamesAnother(t *testing.T) {
	again := func(options string) string { return "adit run " + options }
	for _, tt := range []struct {
		name    string
		err     error
		outcome map[string]error
		want    []string
	}{
		{"the strongest", noNamespace, map[string]error{"namespace": noNamespace},
			[]string{"allow it", "or let another mode do it: adit run --mode=seccomp"}},
		{"another is stronger", noPreload, map[string]error{"preload": noPreload},
			[]string{"make build", "or let another mode do it: adit run --mode=namespace"}},
		{"no other hint", noSeccomp, map[string]error{"seccomp": noSeccomp, "namespace": noNamespace},
			[]string{"let another mode do it: adit run --mode=preload"}},
		{"none works", noNamespace, map[string]error{"namespace": noNamespace, "seccomp": noSeccomp, "preload": noPreload}, []string{"allow it"}},
		{"a command that is not covered", errNotCovered("./static", "", nil), map[string]error{"namespace": noNamespace},
			[]string{"let another mode do it: adit run --mode=seccomp"}},
		{"the same where no other works", errNotCovered("./static", "", nil), map[string]error{"namespace": noNamespace, "seccomp": noSeccomp},
			[]string{"allow it"}},
		{"not the mode's fault", noFiles, nil, noFiles.Hints},
	} {
		theseModes(t, tt.outcome)
		if got := hintsOf(withOther(t.Context(), tt.err, again)); !slices.Equal(got, tt.want) {
			t.Errorf("%s: got hints %q, want %q", tt.name, got, tt.want)
		}
	}
	if got := noNamespace.Hints; len(got) != 1 {
		t.Errorf("the error itself was changed: it has hints %q", got)
	}
}

func TestModeIsWhatWasAskedFor(t *testing.T) {
	for _, tt := range []struct {
		mode   string
		asRoot bool
		want   string // of the mode or the error
	}{
		{"", false, modeAuto},
		{"auto", false, modeAuto},
		{"namespace", false, "namespace"},
		{"seccomp", false, "seccomp"},
		{"preload", false, "preload"},
		{"auto", true, "namespace"},
		{"namespace", true, "namespace"},
		{"seccomp", true, "mode seccomp: --as-root needs mode namespace"},
		{"preload", true, "mode preload: --as-root needs mode namespace"},
		{"magic", false, `mode "magic" is not one of auto, namespace, seccomp, preload`},
	} {
		want := tt.want
		if tt.asRoot && os.Geteuid() == 0 { // is it already
			want = tt.mode
		}
		got, err := chooseMode(&Options{Config: &config.Config{Options: config.Options{Mode: tt.mode}}, AsRoot: tt.asRoot})
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("mode %q, as root %t: got %q, want %q", tt.mode, tt.asRoot, got, want)
		}
	}
}

// The one line about a weaker mode says what it leaves out, and that of every mode
// that --mode auto may fall back to.
func TestFallingBackIsSaid(t *testing.T) {
	for _, m := range modes[1:] {
		if !strings.HasPrefix(uncovered(m.name), "mode "+m.name+" is used, ") {
			t.Errorf("mode %s: got %q", m.name, uncovered(m.name))
		}
	}
	if got := uncovered(modes[0].name); got != "" {
		t.Errorf("mode %s: got %q, want nothing", modes[0].name, got)
	}
}
