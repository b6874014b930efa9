package launcher

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A front is the process that the shell sees while the command runs.
type front struct {
	o       *Options
	mode    string
	status  *statusWriter
	engine  int      // pid
	control net.Conn // reports in, orders out
	reports *json.Decoder
	logDone chan struct{} // closed when the engine's log has been copied to its end

	mu     sync.Mutex // guards orders
	orders *json.Encoder

	reaping sync.Mutex      // held while waiting for the engine; guards what follows
	reaped  bool            // the engine has ended
	fate    unix.WaitStatus // how
}

// Run runs one command in a tunnel of its own and waits for its end. The
// calling process becomes the front: its standard input and output are given
// to the command and closed here, it reaps every orphan, and signals sent to it
// are the command's. One Run per process.
//
// If ctx ends before the command has started, Run gives up; afterwards ctx has
// no effect. An error is always an *Error.
func Run(ctx context.Context, o Options) (Result, error) {
	status, err := newStatusWriter(o.StatusFD)
	if err != nil {
		return Result{}, failed(err)
	}
	res, err := run(ctx, &o, status)
	status.exit(res, err)
	return res, err
}

// ReportFailure writes the last line of --status-fd for a failure before Run.
func ReportFailure(fd int, err error) {
	if status, e := newStatusWriter(fd); e == nil {
		status.exit(Result{}, err)
	}
}

// run is Run but for the last line of the status.
func run(ctx context.Context, o *Options, status *statusWriter) (Result, error) {
	mode, err := chooseMode(o)
	if err != nil {
		return Result{}, err
	}
	if err := findCommand(o.Argv); err != nil {
		return Result{}, err
	}
	if err := checkRoom(); err != nil {
		return Result{}, err
	}
	f := &front{o: o, mode: mode, status: status, logDone: make(chan struct{})}
	f.warnOfSockets()
	signals := f.catchSignals()
	if err := f.startEngine(); err != nil {
		return Result{}, doing("start the engine", err)
	}
	// Our own words may be written from the background as well; the engine,
	// started before, does not inherit this.
	signal.Ignore(unix.SIGTTOU)
	// And nobody may read them any more, while the command goes on.
	signal.Ignore(unix.SIGPIPE)
	stop := context.AfterFunc(ctx, func() { f.order(order{Signal: unix.SIGINT, Starting: true}) })
	defer stop()
	go f.passSignals(signals)
	keepThreads(otherThreads) // while the engine starts

	res, err := f.follow()
	f.control.Close()
	<-f.logDone
	f.reapEngine()
	return res, err
}

// findCommand reports, before anything is started, that the command does not
// exist or cannot be executed. The stage's execve has the last word.
func findCommand(argv []string) error {
	if len(argv) == 0 || argv[0] == "" {
		return errNoCommand()
	}
	_, err := lookPath(argv[0])
	switch {
	case err == nil:
		return nil
	case errors.Is(err, os.ErrNotExist):
		return errNotFound(argv[0])
	default:
		return errCannotExecute(argv[0], err)
	}
}

// warnOfSockets warns of a standard descriptor that is a socket of the host's
// network. It is the command's own input or output, and so left to it, but it
// does not go through the tunnel.
func (f *front) warnOfSockets() {
	for fd := range 3 {
		family, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
		if err == nil && family != unix.AF_UNIX {
			f.notify(Warning, warnSocket(fd))
		}
	}
}

// startEngine starts this executable again as the engine, in a process group of
// its own. Its descriptors 0 to 2 are ours, for the command; two more, at
// whatever numbers are free, so that none of the caller's is covered, are the
// control socket and the engine's log.
func (f *front) startEngine() error {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return os.NewSyscallError("socketpair", err)
	}
	unix.CloseOnExec(pair[0])
	defer unix.Close(pair[1])
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], 0); err != nil {
		unix.Close(pair[0])
		return os.NewSyscallError("pipe2", err)
	}
	unix.CloseOnExec(pipe[0])
	defer unix.Close(pipe[1])

	// Orphans of the engine come to us, should it be killed.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return os.NewSyscallError("prctl", err)
	}
	f.engine, err = syscall.ForkExec("/proc/self/exe",
		[]string{engineName, strconv.Itoa(pair[1]), strconv.Itoa(pipe[1])},
		&syscall.ProcAttr{
			Env:   os.Environ(),
			Files: []uintptr{0, 1, 2},
			// An engine that somebody has stopped must hear of our death.
			Sys: &syscall.SysProcAttr{Setpgid: true, Pdeathsig: unix.SIGCONT},
		})
	if err != nil {
		unix.Close(pair[0])
		unix.Close(pipe[0])
		return fmt.Errorf("/proc/self/exe: %w", err)
	}
	// The configuration has been in this process's memory.
	unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)

	file := os.NewFile(uintptr(pair[0]), "engine")
	f.control, err = net.FileConn(file)
	file.Close()
	if err != nil {
		return err
	}
	go f.copyLog(os.NewFile(uintptr(pipe[0]), "engine log"))
	f.reports, f.orders = json.NewDecoder(f.control), json.NewEncoder(f.control)
	l := newLaunch(f.o, f.mode)
	err = f.orders.Encode(l)
	for _, c := range append(f.o.Outer, f.o.Config) {
		c.PrivateKey.Zero()
	}
	return err
}

// copyLog writes what the engine logs to where the user wants it. The engine
// has no terminal: a process of the background that writes to one may be stopped.
func (f *front) copyLog(r io.ReadCloser) {
	defer close(f.logDone)
	defer r.Close()
	w := io.Writer(os.Stderr)
	if f.o.LogFile != "" {
		if file, err := os.OpenFile(f.o.LogFile, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600); err == nil {
			defer file.Close()
			w = file
		}
	}
	io.Copy(w, r)
}

func (f *front) notify(kind NoticeKind, text string) {
	if f.o.Notify != nil && !(kind == Warning && f.o.Quiet) {
		f.o.Notify(Notice{kind, text})
	}
}

// order sends one order to the engine; an engine that is gone is noticed elsewhere.
func (f *front) order(o order) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.orders.Encode(o)
}

// follow listens to the engine until the command has ended.
func (f *front) follow() (Result, error) {
	waiting, started := false, false
	for {
		var r report
		if err := f.reports.Decode(&r); err != nil {
			return f.engineLost(started)
		}
		if r.Event == eventMode {
			f.mode = r.Mode
		}
		f.status.report(&r, f.mode)
		if waiting && r.Event != eventHandshake {
			f.notify(WaitOver, "")
			waiting = false
		}
		switch r.Event {
		case eventWaiting:
			f.notify(Waiting, r.Text)
			waiting = true
		case eventWarning:
			f.notify(Warning, r.Text)
		case eventStarted:
			started = true
			f.letGo()
			giveBackLater()
		case eventStopped:
			f.stopLike(r.PID)
		case eventExit:
			return Result{Code: r.Code, Signal: r.Signal}, nil
		case eventFailed:
			if r.Signal != 0 {
				return Result{Code: 128 + int(r.Signal), Signal: r.Signal}, nil
			}
			return Result{}, &Error{Code: r.Code, Err: errors.New(r.Text), Hints: r.Hints}
		}
	}
}

// letGo gives up the descriptors that are the command's now: as long as we hold
// the writing end of a pipe, who reads from it waits for us. Standard error
// stays, for our own words.
func (f *front) letGo() {
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	unix.Dup3(null, 0, 0)
	unix.Dup3(null, 1, 0)
	unix.Close(null)
	closeInherited(f.o.StatusFD)
}

// reapEngine waits until the engine has ended, so that nothing of ours is left
// when the command's caller goes on, and returns how.
func (f *front) reapEngine() unix.WaitStatus {
	f.reaping.Lock()
	defer f.reaping.Unlock()
	f.reap(0)
	return f.fate
}

// lookAfterEngine ends our listening to an engine that has ended, once all that
// it said has been heard. The end of the socket does not tell: a process that the
// engine had begun to start may still hold it.
func (f *front) lookAfterEngine() {
	if !f.reaping.TryLock() {
		return // its end is being waited for
	}
	defer f.reaping.Unlock()
	if f.reap(unix.WNOHANG); f.reaped {
		f.control.(*net.UnixConn).CloseRead()
	}
}

// reap waits for the engine as options say. f.reaping must be held.
func (f *front) reap(options int) {
	for !f.reaped {
		pid, err := unix.Wait4(f.engine, &f.fate, options, nil)
		if err == unix.EINTR {
			continue
		}
		f.reaped = pid == f.engine || err != nil
		return
	}
}

// DieLike ends this process as res says: by the same signal, so that the caller
// sees what it would have seen from the command itself, or with its status.
func DieLike(res Result) {
	if res.Signal != 0 {
		signal.Reset(res.Signal)
		// One core dump is enough.
		unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})
		setDisposition(res.Signal, sigDfl)
		unix.Kill(os.Getpid(), res.Signal)
		// The signal is taken by whichever thread the kernel finds first.
		time.Sleep(time.Second)
	}
	os.Exit(res.Code)
}

// rootCause returns the innermost error, usually an errno.
func rootCause(err error) error {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		err = inner
	}
}
