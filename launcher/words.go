package launcher

import (
	"errors"
	"fmt"
	"time"

	"adit/config"
	"adit/wg"
)

// Every sentence with which adit refuses to start or to go on, and what to type
// then. Errors of the system stand at the end of a sentence, innermost last.
// testdata/messages.golden has each of them as the user sees it.

func failed(err error, hints ...string) *Error {
	return &Error{Code: CodeFailed, Err: err, Hints: hints}
}

// doing is a failure of adit's own business: what was being done, and why not.
func doing(what string, err error) *Error { return failed(fmt.Errorf("%s: %w", what, err)) }

func errNoCommand() *Error {
	return failed(errors.New("no command was given"), "adit run -c wg0.conf -- curl https://example.com")
}

func errNotFound(name string) *Error {
	return &Error{Code: CodeNotFound, Err: fmt.Errorf("%s: command not found", name)}
}

func errCannotExecute(name string, err error) *Error {
	return &Error{Code: CodeCannotRun, Err: fmt.Errorf("%s: cannot be executed: %w", name, rootCause(err))}
}

// ErrNotYet is the cause of a refusal of a mode that this version does not have.
var ErrNotYet = errors.New("this version does not have it yet")

func errModeNotYet(mode, command string) *Error {
	e := failed(fmt.Errorf("mode %s: %w", mode, ErrNotYet))
	if command != "" {
		e.Hints = []string{"adit run --mode=namespace -c wg0.conf -- " + command}
	}
	return e
}

func errNoSuchMode(mode string) *Error {
	return failed(fmt.Errorf("mode %q is not one of auto, namespace, seccomp, preload", mode))
}

func errEngineLost() *Error {
	return failed(errors.New("the engine ended unexpectedly: the command has lost its network and was ended"))
}

func errStageLost() *Error {
	return doing("start the command", errStageGone)
}

func errKeyInUse(public wg.PublicKey) *Error {
	return failed(fmt.Errorf("the key %s is in use by another adit run: the peer would send now to the one and now to the other", public.Short()),
		"end the other one first, or give this one a key of its own: adit genkey")
}

func errUnresolved(ep config.Endpoint, err error) *Error {
	return failed(fmt.Errorf("resolve the endpoint %s: %w", ep, err), "getent ahosts "+ep.Host)
}

func errStep(step string, err error) *Error {
	return failed(fmt.Errorf("mode namespace: %s: %w", step, err), "adit doctor")
}

// errBlocked names the layer of the system that forbids namespaces.
func errBlocked(layer, step string, err error, hints []string) *Error {
	return failed(fmt.Errorf("mode namespace: %s: %s: %w", layer, step, rootCause(err)), hints...)
}

const (
	layerUnknown = "user namespaces are not permitted here"
	layerFull    = "no more user namespaces: they are nested more than 32 deep or the user's quota is used up"
)

// errNoHandshake is the end of the wait for a tunnel that did not come up.
func errNoHandshake(endpoints string, timeout time.Duration, sent, received uint64, public wg.PublicKey) *Error {
	outcome := "nothing came back"
	if received > 0 {
		outcome = fmt.Sprintf("%d bytes came back, but no valid answer", received)
	}
	return &Error{Code: CodeNotReady,
		Err: fmt.Errorf("no handshake with %s within %v: %d bytes of initiations sent, %s", endpoints, timeout, sent, outcome),
		Hints: []string{
			"the peer must know this public key: " + public.String(),
			"see each attempt: adit run -vv …",
		}}
}

// errNotAccepted is the end of the wait for --wait tcp:ADDR.
func errNotAccepted(addr, endpoints string, timeout time.Duration) *Error {
	return &Error{Code: CodeNotReady,
		Err:   fmt.Errorf("%s did not accept a connection within %v, though the handshake with %s succeeded", addr, timeout, endpoints),
		Hints: []string{"start without waiting for it: adit run --wait=handshake …"}}
}

// The warnings.

func warnSocket(fd int) string {
	return fmt.Sprintf("descriptor %d is a socket of the host's network: what the command does with it is outside of the tunnel", fd)
}

// warnFailed is followed by the reason.
const warnFailed = "the tunnel has failed and the command is ended: "

const warnLeftovers = "these processes of the command still run and lose their network:"
