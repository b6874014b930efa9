package hostile

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// A Kind is what may become of an attempt.
type Kind string

const (
	// Refused: a system call says no.
	Refused Kind = "refused"
	// Tunnel: it leaves by the tunnel. Outside of AllowedIPs it is unreachable.
	Tunnel Kind = "tunnel"
	// Own: it succeeds and reaches only what is the command's own.
	Own Kind = "own"
	// Open: it gets out, on purpose: others on the host do it in the command's
	// place.
	Open Kind = "open"
	// Nothing: it means nothing in this mode, and is not made.
	Nothing Kind = "nothing"
)

// An Expect is what should become of an attempt.
type Expect struct {
	Kind   Kind
	Errnos []syscall.Errno // of Refused, and of the others where they may fail, too
}

func refused(errnos ...syscall.Errno) Expect { return Expect{Refused, errnos} }
func tunnel(errnos ...syscall.Errno) Expect  { return Expect{Tunnel, errnos} }
func own(errnos ...syscall.Errno) Expect     { return Expect{Own, errnos} }
func open(errnos ...syscall.Errno) Expect    { return Expect{Open, errnos} }
func nothing() Expect                        { return Expect{Kind: Nothing} }

// The modes, as ADIT_ACTIVE names them.
const (
	Namespace = "namespace"
	Seccomp   = "seccomp"
	Preload   = "preload"
)

// Modes says what to expect in each mode.
type Modes map[string]Expect

// usual is what to expect of most in a category.
func usual(namespace, seccomp, preload Expect) Modes {
	return Modes{Namespace: namespace, Seccomp: seccomp, Preload: preload}
}

func inNamespace(e Expect) Modes { return Modes{Namespace: e} }
func inSeccomp(e Expect) Modes   { return Modes{Seccomp: e} }
func inEach(e Expect) Modes      { return usual(e, e, e) }

func (m Modes) seccomp(e Expect) Modes { return m.with(Seccomp, e) }
func (m Modes) preload(e Expect) Modes { return m.with(Preload, e) }

// both is what to expect in the modes that have no namespace.
func (m Modes) both(e Expect) Modes { return m.seccomp(e).preload(e) }

func (m Modes) with(mode string, e Expect) Modes {
	m = maps.Clone(m)
	m[mode] = e
	return m
}

func (e Expect) String() string {
	switch e.Kind {
	case Refused:
		var names []string
		for _, n := range e.Errnos {
			names = append(names, unix.ErrnoName(n))
		}
		return strings.Join(names, ", ")
	case Tunnel:
		return "by the tunnel"
	case Own:
		return "its own only"
	case Open:
		return "open on purpose"
	}
	return "nothing"
}

// A State is what an attempt has seen of itself.
type State string

const (
	StateRefused State = "refused" // a call failed that had to succeed
	StateAbsent  State = "absent"  // the kernel or the machine has no such thing
	StateSent    State = "sent"    // something was handed to the kernel; the watch knows where it went
	StateOwn     State = "own"     // it succeeded, and what it got is not the host's
	StateGot     State = "got"     // it got something that is the host's
	StateBroken  State = "broken"  // it could not be tried
	StateBegun   State = "begun"   // it was started, and has not said more yet
)

// A Result is what an attempt says of itself.
type Result struct {
	Name  string        `json:"name"`
	State State         `json:"state"`
	Step  string        `json:"step,omitempty"`  // the call that decided
	Errno syscall.Errno `json:"errno,omitempty"` // why it failed
	Text  string        `json:"text,omitempty"`
}

func (r Result) String() string {
	s := string(r.State)
	if r.Step != "" {
		s = r.Step
	}
	switch {
	case r.State == StateAbsent:
		s = "not there: " + s
	case r.Errno != 0:
		s += ": " + unix.ErrnoName(r.Errno)
	case r.State == StateSent:
		s = "sent"
	case r.State == StateGot:
		s += ": got it"
	case r.State == StateBroken:
		s += ": " + r.Text
	}
	return s
}

// unreachable are the errors of a network that does not lead there.
var unreachable = []syscall.Errno{unix.ENETUNREACH, unix.EHOSTUNREACH, unix.EADDRNOTAVAIL, unix.ECONNREFUSED, unix.EINPROGRESS}

// meets reports whether r is what e says, as far as an attempt can tell itself.
func (e Expect) meets(r Result) bool {
	switch r.State {
	case StateAbsent:
		return true
	case StateRefused:
		return slices.Contains(e.Errnos, r.Errno) ||
			e.Kind != Refused && slices.Contains(unreachable, r.Errno)
	case StateSent:
		return e.Kind != Refused
	case StateOwn:
		return e.Kind == Own || e.Kind == Open
	case StateGot:
		return e.Kind == Open
	}
	return false
}

// absent are the errors of what a kernel was built without.
var absent = []syscall.Errno{unix.EAFNOSUPPORT, unix.EPROTONOSUPPORT, unix.ESOCKTNOSUPPORT, unix.EOPNOTSUPP, unix.ENOPROTOOPT}

// no returns the result of a call that failed.
func no(step string, err error) Result {
	r := Result{State: StateRefused, Step: step}
	if err == nil {
		return Result{State: StateBroken, Step: step, Text: "no error"}
	}
	if !errors.As(err, &r.Errno) {
		return Result{State: StateBroken, Step: step, Text: err.Error()}
	}
	return r
}

// noSuch is no for a call whose failure may mean that there is no such thing. Where
// that very errno is expected of a refusal, it is one.
func noSuch(step string, err error, also ...syscall.Errno) Result {
	r := no(step, err)
	if slices.Contains(absent, r.Errno) || slices.Contains(also, r.Errno) {
		r.State = StateAbsent
	}
	return r
}

func sent() Result               { return Result{State: StateSent} }
func got(what string) Result     { return Result{State: StateGot, Step: what} }
func ours(what string) Result    { return Result{State: StateOwn, Step: what} }
func missing(what string) Result { return Result{State: StateAbsent, Step: what} }
func broken(err error) Result    { return Result{State: StateBroken, Text: fmt.Sprint(err)} }
