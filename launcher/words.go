package launcher

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"adit/config"
	"adit/wg"

	"golang.org/x/sys/unix"
)

// Every sentence with which adit refuses to start or to go on, and what to type
// then. Errors of the system stand at the end of a sentence, innermost last.
// testdata/messages.golden has each of them as the user sees it.

func failed(err error, hints ...string) *Error {
	if hints == nil {
		hints = remedies(err)
	}
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

// errEngineLost is about an engine that has died without a word, how says by
// what.
func errEngineLost(started bool, how unix.WaitStatus) *Error {
	outcome := "before the command had started"
	if started {
		outcome = "the command has lost its network and was ended"
	}
	e := failed(fmt.Errorf("the engine ended unexpectedly, with status %d: %s", how.ExitStatus(), outcome))
	if how.Signaled() {
		e.Err = fmt.Errorf("the engine was ended by signal %d (%v): %s", how.Signal(), how.Signal(), outcome)
	}
	if how.Signal() == unix.SIGKILL {
		e.Hints = []string{hintKilled}
	}
	return e
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

// errNoHandshake is the end of the wait for a tunnel that did not come up.
func errNoHandshake(endpoints string, timeout time.Duration, sent, received uint64, public wg.PublicKey, again func(string) string) *Error {
	outcome := "nothing came back"
	if received > 0 {
		outcome = fmt.Sprintf("%d bytes came back, but no valid answer", received)
	}
	return &Error{Code: CodeNotReady,
		Err: fmt.Errorf("no handshake with %s within %v: %d bytes of initiations sent, %s", endpoints, timeout, sent, outcome),
		Hints: []string{
			"does the peer know our key? there: wg show all peers | grep " + public.String(),
			"see each attempt: " + again("-vv"),
		}}
}

// errNotAccepted is the end of the wait for --wait tcp:ADDR.
func errNotAccepted(addr, endpoints string, timeout time.Duration, again func(string) string) *Error {
	return &Error{Code: CodeNotReady,
		Err:   fmt.Errorf("%s did not accept a connection within %v, though the handshake with %s succeeded", addr, timeout, endpoints),
		Hints: []string{"start without waiting for it: " + again("--wait=handshake")}}
}

// What the program's entry point says, in bytes: there is no runtime yet.
var (
	//lint:ignore U1000 entry_linux_*.s reads it
	entryNoSpace = "adit: error: the address space is limited to less than 768 MB: a Go program cannot start in it\nadit: hint: ulimit -v unlimited\n"
	//lint:ignore U1000 entry_linux_*.s reads it
	entryNoFiles = "adit: error: fewer than 16 open files are allowed here\nadit: hint: ulimit -n 1024\n"
	//lint:ignore U1000 entry_linux_*.s reads it
	entryNoData = "adit: error: memory is limited to less than 96 MB: a Go program cannot start in it\nadit: hint: ulimit -d unlimited\n"
)

// errTooFew is about a limit on what a run needs some of.
func errTooFew(what string, free, needed uint64, hint string) *Error {
	return failed(fmt.Errorf("%d more %s are allowed here, and a run needs %d", free, what, needed), hint)
}

const (
	hintFiles     = "ulimit -n 1024"
	hintProcesses = "ulimit -u 4096"
	hintAllFiles  = "sudo sysctl -w fs.file-max=1000000"
	hintDisk      = "df -h"
	hintFileSize  = "ulimit -f unlimited"
	hintKilled    = "was it the kernel, for want of memory? dmesg | grep -i 'killed process'"
	hintRuntime   = "name a folder that can be written: XDG_RUNTIME_DIR=/dev/shm adit run …"
	hintArguments = "how much fits, in bytes: getconf ARG_MAX"
)

// remedies returns what to type against an error that says that something is used
// up, or may have been.
func remedies(err error) []string {
	if errors.Is(err, errStageGone) {
		return []string{hintKilled}
	}
	for errno, hint := range map[syscall.Errno]string{
		unix.EMFILE: hintFiles, unix.ENFILE: hintAllFiles, unix.EAGAIN: hintProcesses,
		unix.ENOSPC: hintDisk, unix.EDQUOT: hintDisk, unix.E2BIG: hintArguments, unix.EFBIG: hintFileSize,
	} {
		if errors.Is(err, errno) {
			return []string{hint}
		}
	}
	return nil
}

// The warnings.

func warnSocket(fd int) string {
	return fmt.Sprintf("descriptor %d is a socket of the host's network: what the command does with it is outside of the tunnel", fd)
}

// warnFailed is followed by the reason.
const warnFailed = "the tunnel has failed and the command is ended: "

const warnKeeper = "adit's keeper, which keeps the host's resolvers out of sight, was killed and the command is ended"

// warnCapture is followed by the reason, which names the file.
const warnCapture = "--pcap: the capture is not complete: "

const warnLeftovers = "these processes of the command still run and lose their network:"

// againWith returns what to type to run argv once more with other options. A
// configuration that is no file is left to the reader.
func againWith(configs []*config.Config, argv []string) func(options string) string {
	return func(options string) string {
		words := []string{"adit", "run"}
		for _, c := range configs {
			if st, err := os.Stat(c.Source); err == nil && st.Mode().IsRegular() {
				words = append(words, "-c", quoted(c.Source))
			}
		}
		words = append(words, options, "--")
		for _, a := range argv {
			words = append(words, quoted(a))
		}
		return strings.Join(words, " ")
	}
}

// quoted returns s as a shell reads it back.
func quoted(s string) string {
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:=,@%+"
	if s != "" && strings.Trim(s, plain) == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
