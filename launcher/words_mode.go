package launcher

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// The sentences about modes: why one cannot be had, what another one does not
// cover.

const (
	hintDoctor = "adit doctor"
	hintExec   = "name one that is not mounted noexec: XDG_RUNTIME_DIR=FOLDER adit run --mode=preload …"
	hintApt    = "apt-get -o APT::Sandbox::User=root"

	layerUnknown = "user namespaces are not permitted here"
	layerFull    = "no more user namespaces: they are nested more than 32 deep or the user's quota is used up"
)

func errNoSuchMode(mode string) *Error {
	return failed(fmt.Errorf("mode %q is not one of auto, namespace, seccomp, preload", mode))
}

// errModeStep is about a step of a mode's that failed for a reason that is not
// known.
func errModeStep(mode, step string, err error) *Error {
	e := failed(&modeError{mode, fmt.Errorf("%s: %w", step, err)})
	// ENOSPC is here of namespaces or mounts (clone(2), mount(2)), not of a disk.
	if e.Hints == nil || errors.Is(err, unix.ENOSPC) {
		e.Hints = []string{hintDoctor}
	}
	return e
}

// errUsedUp is about a step that failed for want of something.
func errUsedUp(mode, step string, err error) *Error {
	return failed(&modeError{mode, fmt.Errorf("%s: %w", step, err)})
}

func errStep(step string, err error) *Error { return errModeStep("namespace", step, err) }

// errBlocked names the layer of the system that forbids a mode.
func errBlocked(mode, layer, step string, err error, hints []string) *Error {
	if hints == nil {
		hints = []string{} // that there are none is known
	}
	return failed(&modeError{mode, fmt.Errorf("%s: %s: %w", layer, step, rootCause(err))}, hints...)
}

// errNoMachine is about a processor whose system calls a mode does not know.
func errNoMachine(mode, goarch string) *Error {
	return errWithout(mode, "it does not know the system calls of "+goarch)
}

// errNoShim is about an adit that was built without the library of preload mode.
func errNoShim(goarch string, hint string) *Error {
	return errWithout("preload", "this adit has no library for "+goarch+": it was built without a C compiler", hint)
}

// errWithout is a reason that is not an error of the system's.
func errWithout(mode, why string, hints ...string) *Error {
	if hints == nil {
		hints = []string{}
	}
	return failed(&modeError{mode, errors.New(why)}, hints...)
}

// errReported is a refusal that another process has met with.
func errReported(mode, text string, hints []string) *Error {
	return errWithout(mode, text, hints...)
}

// errAsRoot is about a mode in which nobody can be shown another uid.
func errAsRoot(mode string, again func(options string) string) *Error {
	return errWithout(mode, "--as-root needs mode namespace", again("--mode=namespace"))
}

// errNoMode puts the refusals of all modes into one sentence, with every hint.
func errNoMode(refusals []error) *Error {
	var reasons, hints []string
	for _, r := range refusals {
		reasons = append(reasons, strings.TrimPrefix(r.Error(), "mode "))
		for _, h := range hintsOf(r) {
			if h != hintDoctor && !slices.Contains(hints, h) {
				hints = append(hints, h)
			}
		}
	}
	return failed(fmt.Errorf("no mode works here: %s", strings.Join(reasons, "; ")), append(hints, hintDoctor)...)
}

// errNotCovered is about a command that preload mode does not get hold of: why is
// what preload.Covers says.
func errNotCovered(command, why string, hints []string) *Error {
	return &Error{
		Code:  CodeCannotRun,
		Err:   fmt.Errorf("%s: %w", command, &modeError{"preload", fmt.Errorf("it cannot cover this: %s", why)}),
		Hints: hints,
	}
}

// sayOther is what to type for a mode that does.
func sayOther(command string) string { return "let another mode do it: " + command }

// uncovered is the one line about a mode that --mode auto has fallen back to: what
// it leaves out.
func uncovered(mode string) string {
	switch mode {
	case "seccomp":
		return "mode seccomp is used, as no namespaces can be made here: TCP, UDP and names work, ping and all else is refused (see adit doctor)"
	case "preload":
		return "mode preload is used, as neither namespaces nor seccomp notification can be had here: " +
			"TCP and names of dynamically linked programs work, UDP, static programs and all else is refused (see adit doctor)"
	}
	return ""
}

// What a mode does not promise, for doctor.
const (
	noteAsking   = "programs of the host that do the command's work remain in reach: unix sockets of the file system (docker.sock, the session bus)"
	noteAskAll   = "programs of the host that do the command's work remain in reach: unix sockets of the file system (docker.sock, the session bus) and abstract ones"
	notePtrace   = "so do the user's other processes, by ptrace"
	noteLoopback = "what the command listens on is at a private address 127.x.y.z of lo, where other users of this machine can reach it, too"
	noteSetID    = "sudo and other set-user-ID programs gain nothing"
	noteRefused  = "ping, raw sockets and other protocols are refused"
	noteOnlyTCP  = "UDP, ping and all else is refused, and so are static programs (exit status 126)"
)

// warnUnreadable is about a process whose calls cannot be answered, because its
// memory may not be read. why is whyUnreadable's.
func warnUnreadable(name string, pid int, why string) string {
	text := fmt.Sprintf("%s (%d) has no network: its memory cannot be read, because %s", name, pid, why)
	if strings.HasPrefix(why, whyOtherUser) && slices.Contains(aptMethods, name) {
		text += "; for apt: " + hintApt + " …"
	}
	return text
}

const (
	// warnSearch is said where there are search domains: the command's resolver reads
	// the host's resolv.conf.
	warnSearch = "search domains have no effect in mode seccomp: those of the host's resolv.conf are used"
	// warnExposedUDP is said where --expose names a port of UDP.
	warnExposedUDP = "--expose: no UDP port can be reached in mode preload, which has no UDP"
)

const (
	whyOtherUser = "it has changed its user"
	whyNotDumped = "it has asked for that, or its file cannot be read (PR_SET_DUMPABLE)"
)

// aptMethods are the programs by which apt fetches, as the user _apt.
var aptMethods = []string{"apt", "apt-get", "http", "https", "ftp", "mirror", "mirror+http", "mirror+https"}

// warnNoShim is about a program that has been started in preload mode and has not
// loaded the library.
func warnNoShim(name string, pid int) string {
	return fmt.Sprintf("%s (%d) has no network: it has not loaded adit's library, as static programs and those without LD_PRELOAD do", name, pid)
}

// hintsOf returns what err says to type.
func hintsOf(err error) []string {
	var e *Error
	if errors.As(err, &e) {
		return e.Hints
	}
	return nil
}
