package launcher

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// stageMain is the stage's main: args are the number of the socket to the
// engine and the command.
//
// It runs in the new namespaces with stageCaps as the caller's user. Its
// duties, in this order:
//
//  1. keep to one thread: capabilities and execve belong to threads
//  2. take the configuration from the engine
//  3. furnish the network: lo, the device, addresses, routes
//  4. furnish the file system: /etc, masks over resolver sockets
//  5. hand the device and the DNS sockets to the engine
//  6. start the keeper; where the command is uid 0, start the inner stage and leave
//     the rest to it
//  7. wait for the engine's word
//  8. close what the command must not inherit, install the filter, drop everything
//  9. execve
//
// Until 9, whatever fails is reported, and the command is not started.
func stageMain(args []string) {
	runtime.LockOSThread()
	nameProcess(stageName)
	sock, argv, err := stageArgs(args)
	if err != nil {
		fmt.Fprintf(os.Stderr, "adit: stage: %v\n", err)
		os.Exit(CodeFailed)
	}
	if err := stageRun(sock, argv); err != nil {
		sock.send(failureReport(err))
		os.Exit(CodeFailed)
	}
	os.Exit(0) // the inner stage becomes the command
}

func stageArgs(args []string) (*seqpacket, []string, error) {
	if len(args) == 0 {
		return nil, nil, errors.New("not for people: it is started by adit run")
	}
	fd, err := strconv.Atoi(args[0])
	if err != nil {
		return nil, nil, err
	}
	unix.CloseOnExec(fd)
	sock, err := newSeqpacket(fd)
	return sock, args[1:], err
}

// A stepError is a step of the stage that failed.
type stepError struct {
	step string
	err  error
}

func (e *stepError) Error() string { return e.step + ": " + e.err.Error() }
func (e *stepError) Unwrap() error { return e.err }

// step names what err was about; nil stays nil, and what has a name keeps it.
func step(name string, err error) error {
	if _, named := err.(*stepError); named || err == nil {
		return err
	}
	return &stepError{name, err}
}

func failureReport(err error) *stageReport {
	r := &stageReport{Step: "furnish", Text: err.Error()}
	var s *stepError
	if errors.As(err, &s) {
		r.Step, r.Text = s.step, s.err.Error()
	}
	errors.As(err, &r.Errno)
	return r
}

func stageRun(sock *seqpacket, argv []string) error {
	var c stageConfig
	if _, err := sock.receive(&c); err != nil {
		return step("receive the configuration", err)
	}
	cwd, cwdErr := os.Getwd()
	if isConfined(c.Mode) {
		return becomeConfined(sock, &c, argv)
	}
	umask := unix.Umask(0o022) // what we make, the command must be able to read
	resolvers := resolverAddresses()
	report := &stageReport{}
	device, err := furnishNetwork(&c, report)
	if err != nil {
		return err
	}
	if err := furnishFiles(&c, report); err != nil {
		return err
	}
	unix.Umask(umask)
	if cwdErr == nil {
		enterAgain(cwd)
	}
	fds := []int{device}
	if c.Loopback {
		fds = append(fds, loopbackSockets(resolvers, report)...)
	}
	if c.Inner {
		if report.PID, err = startInner(sock, &c, argv); err != nil {
			return step("start the inner namespace", err)
		}
	}
	if report.Keeper, err = startKeeper(&c); err != nil {
		return step("start the keeper", err)
	}
	if err := sock.send(report, fds...); err != nil {
		return step("hand over the device", err)
	}
	for _, fd := range fds {
		unix.Close(fd)
	}
	if c.Inner {
		return nil
	}
	return becomeCommand(sock, &c, argv)
}

// becomeCommand waits for the engine's word and executes the command. It
// returns only if it could not.
func becomeCommand(sock *seqpacket, c *stageConfig, argv []string) error {
	var word string
	if _, err := sock.receive(&word); err != nil || word != wordGo {
		return step("wait for the tunnel", errors.Join(err, errStageGone))
	}
	if err := closeWaysOut(false); err != nil {
		return step("close the caller's sockets", err)
	}
	if err := installFilter(); err != nil {
		return step("install the system call filter", err)
	}
	if !c.Inner {
		if err := dropCapabilities(); err != nil {
			return step("drop capabilities", err)
		}
	}
	restoreIgnored(c.Ignored)
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, 0, 0, 0, 0); err != nil {
		return step("forget the engine", os.NewSyscallError("prctl", err))
	}
	return executeOrReport(sock, argv)
}

// executeOrReport executes the command. It returns only if the engine is gone.
func executeOrReport(sock *seqpacket, argv []string) error {
	if err := sock.send(&stageReport{Step: stepExec}); err != nil {
		return step(stepExec, err)
	}
	err := execute(argv, os.Environ())
	r := &stageReport{Step: stepExec, Text: argv[0], Errno: unix.EACCES}
	errors.As(err, &r.Errno)
	sock.send(r)
	os.Exit(CodeCannotRun)
	return nil
}

// execute is execvp(3): the search in PATH, and the shell for a file that the
// kernel does not know how to execute.
func execute(argv, env []string) error {
	path, err := lookPath(argv[0])
	if err != nil {
		return err
	}
	err = syscall.Exec(path, argv, env)
	if errors.Is(err, unix.ENOEXEC) {
		return syscall.Exec("/bin/sh", append([]string{"/bin/sh", path}, argv[1:]...), env)
	}
	return err
}

// lookPath finds a command as execvp(3) does: in the folders of PATH, the current
// one if PATH says so. A file there that may not be executed is EACCES unless
// another one may; none at all is ENOENT.
func lookPath(name string) (string, error) {
	path, err := exec.LookPath(name)
	switch {
	case err == nil || errors.Is(err, exec.ErrDot):
		return path, nil
	case !errors.Is(err, exec.ErrNotFound):
		return "", err
	}
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		if st, err := os.Stat(filepath.Join(dir, name)); err == nil && st.Mode().IsRegular() {
			return "", unix.EACCES
		}
	}
	return "", unix.ENOENT
}

// enterAgain goes back to the working directory by its path: who stands in /etc
// or in a masked directory when something is mounted over it stays in the old
// one. If the path leads elsewhere now or nowhere, and the old directory may be
// such a one, the command starts in /.
func enterAgain(cwd string) {
	if unix.Chdir(cwd) == nil {
		return
	}
	for _, dir := range append([]string{"/etc"}, resolverDirs...) {
		if cwd == dir || strings.HasPrefix(cwd, dir+"/") {
			unix.Chdir("/")
			return
		}
	}
}

// dropCapabilities gives up every capability of this thread. The bounding set
// stays: with a capability missing from it, the kernel refuses to execute files
// that have it as a file capability, ping among them (capabilities(7)).
func dropCapabilities() error {
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return os.NewSyscallError("prctl", err)
	}
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	return os.NewSyscallError("capset", unix.Capset(&hdr, &none[0]))
}
