package launcher

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"adit/config"

	"golang.org/x/sys/unix"
)

// An engine is the process between the command and the network.
type engine struct {
	l     *launch
	cfgs  []*config.Config // one per carrier, the command's last
	log   *slog.Logger
	logFD int     // the log's pipe
	exit  closers // what to close at the end, in reverse

	reportMu sync.Mutex // guards reports
	reports  *json.Encoder
	control  net.Conn

	// starting is the context of everything before the command runs. cancel
	// ends it with a cause, an abort; afterwards it does nothing.
	starting context.Context
	cancel   context.CancelCauseFunc

	auto  bool // the mode was left to us
	stage *stage
	child *child
}

// An abort is the cause of a start that was given up because of a signal to
// the front, or, with signal 0, because the front is gone.
type abort struct{ signal syscall.Signal }

func (a abort) Error() string { return fmt.Sprintf("given up: %v", a.signal) }

// engineMain is the engine's main: args are the numbers of the control socket
// and of the log's pipe.
func engineMain(args []string) {
	if len(args) != 2 {
		os.Exit(CodeFailed)
	}
	e, err := newEngine(args[0], args[1])
	if errors.Is(err, io.EOF) {
		os.Exit(CodeFailed) // the front has died before it said what to do
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "adit: engine: %v\n", err)
		os.Exit(CodeFailed)
	}
	if err := e.run(); err != nil {
		e.reportFailure(err)
	}
	e.child.waitWoken()
	e.exit.Close()
	os.Exit(0)
}

// newEngine takes the launch from the control socket.
func newEngine(control, logPipe string) (*engine, error) {
	controlFD, err1 := strconv.Atoi(control)
	logFD, err2 := strconv.Atoi(logPipe)
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	unix.CloseOnExec(controlFD)
	unix.CloseOnExec(logFD)
	f := os.NewFile(uintptr(controlFD), "front")
	c, err := net.FileConn(f)
	f.Close()
	if err != nil {
		return nil, err
	}
	// The front passes on what is meant for the command. What is sent to every
	// adit process, as killall does, must not end the engine under it.
	signal.Notify(make(chan os.Signal, 1), unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT,
		unix.SIGUSR1, unix.SIGUSR2, unix.SIGALRM, unix.SIGTSTP)
	// Orphans of the command are reaped here, and known here.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return nil, os.NewSyscallError("prctl", err)
	}
	nameProcess(engineName)
	e := &engine{control: c, reports: json.NewEncoder(c), l: new(launch), logFD: logFD}
	orders := json.NewDecoder(c)
	if err := orders.Decode(e.l); err != nil {
		return nil, fmt.Errorf("read the launch: %w", err)
	}
	e.log = NewLogger(os.NewFile(uintptr(logFD), "log"), e.l.LogFormat, slog.Level(e.l.LogLevel))
	for i := range e.l.Configs {
		cfg, err := e.l.Configs[i].receive()
		if err != nil {
			return nil, err
		}
		e.cfgs = append(e.cfgs, cfg)
	}
	if len(e.cfgs) == 0 {
		return nil, errors.New("BUG: a launch without a configuration")
	}
	e.starting, e.cancel = context.WithCancelCause(context.Background())
	e.child = newChild(e.report)
	go e.takeOrders(orders)
	return e, nil
}

func (e *engine) report(r report) {
	e.reportMu.Lock()
	defer e.reportMu.Unlock()
	e.reports.Encode(r)
}

func (e *engine) warn(text string) { e.report(report{Event: eventWarning, Text: text}) }

// reportFailure tells the front that the command was not started, and why.
func (e *engine) reportFailure(err error) {
	var a abort
	if errors.As(err, &a) {
		e.report(report{Event: eventFailed, Code: CodeFailed, Signal: a.signal, Text: err.Error()})
		return
	}
	var f *Error
	if !errors.As(err, &f) {
		f = failed(err)
	}
	e.report(report{Event: eventFailed, Code: f.Code, Text: f.Error(), Hints: f.Hints})
}

// takeOrders does what the front says until the front is gone; then it ends the
// command, and the engine with it.
func (e *engine) takeOrders(orders *json.Decoder) {
	for {
		var o order
		if err := orders.Decode(&o); err != nil {
			e.cancel(abort{})
			e.child.end(e.l.StopTimeout)
			return
		}
		if o.Stopping {
			e.child.frontStopping()
			continue
		}
		if o.Signal == unix.SIGCONT {
			e.child.frontGoesOn()
		}
		runs := false
		if o.Starting {
			runs = e.child.runs()
		} else {
			runs = e.child.signal(o.Signal)
		}
		if !runs && endsByDefault(o.Signal) {
			e.cancel(abort{o.Signal})
		}
	}
}

// endsByDefault reports whether sig ends a process that has not asked otherwise
// (signal(7)).
func endsByDefault(sig syscall.Signal) bool {
	switch sig {
	case unix.SIGCHLD, unix.SIGCONT, unix.SIGURG, unix.SIGWINCH,
		unix.SIGSTOP, unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU:
		return false
	}
	return true
}

// run opens everything, starts the command and waits for its end. Its error is
// a command that was not started.
func (e *engine) run() error {
	ctx := e.starting
	var locks []*keyLock
	for _, cfg := range e.cfgs {
		lock, err := lockKey(cfg.PrivateKey)
		if err != nil {
			return err
		}
		e.exit.add(lock)
		locks = append(locks, lock)
	}
	if err := e.startStage(ctx); err != nil {
		return err
	}
	// Only now: of a process that is not dumpable the namespaces of a child
	// could not be given their mappings (user_namespaces(7)).
	unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
	e.child.watch(e.stage.pid, e.stage.sock.hangUp)
	defer func() { e.stage.close() }()

	t, pid, err := e.begin(ctx, locks)
	if t == nil && e.auto && refusedMode(err) == "namespace" && ctx.Err() == nil {
		if err = e.fallBack(ctx, err); err == nil {
			t, pid, err = e.begin(ctx, locks)
		}
	}
	if t != nil {
		e.exit.add(t)
	}
	if err != nil {
		err = withOther(ctx, e.firstCause(err), againWith(e.cfgs, e.l.argv()))
		endStrangers(0)
		return err
	}
	e.report(report{Event: eventStarted, PID: pid})
	giveBackLater()
	running, ended := context.WithCancel(context.Background())
	go e.mindFailure(running, t)
	go e.mindKeeper(running)
	end := e.child.wait()
	ended()
	e.child.waitEnd()
	e.child.endKeeper()
	t.warnOfCaptures()
	if t.confined.isUnheard() {
		e.warn(warnNoShim(filepath.Base(string(e.l.Argv[0])), pid))
	}
	if !e.nameLeftovers() {
		t.leaveDevice()
	}
	e.report(end)
	return nil
}

// begin opens the tunnel, waits until it can be used and starts the command,
// whose pid it returns. The tunnel, if not nil, is to be closed in any case.
func (e *engine) begin(ctx context.Context, locks []*keyLock) (*tunnel, int, error) {
	// What hangs, the stage at a mount of a dead server or we ourselves at a
	// pipe that nobody reads, would not be heard of again.
	stop := context.AfterFunc(ctx, func() {
		e.stage.sock.hangUp()
		time.AfterFunc(abortPatience, e.giveUp)
	})
	t, err := openTunnel(ctx, e, locks)
	if err != nil {
		return nil, 0, err
	}
	e.leaveTerminal()
	if err := t.waitReady(ctx); err != nil {
		return t, 0, err
	}
	if !stop() {
		return t, 0, context.Cause(ctx)
	}
	keepThreads(engineThreads)
	e.report(report{Event: eventReady})
	pid, err := e.stage.release(e.child, func(f *os.File) error { return t.confined.serve(f, e.log, e.warn) })
	return t, pid, err
}

// abortPatience is how long a start that is given up may take to end well.
const abortPatience = 2 * time.Second

// giveUp ends the engine in the middle of a start that does not end by itself.
func (e *engine) giveUp() {
	e.reportFailure(context.Cause(e.starting))
	endStrangers(0)
	os.Exit(0)
}

// mindFailure ends the command when the tunnel under it has failed for good,
// which a tunnel that is only down never does. It returns when ctx ends.
func (e *engine) mindFailure(ctx context.Context, t *tunnel) {
	if err := t.failure(ctx); err != nil {
		e.report(report{Event: eventDown, Text: err.Error()})
		e.warn(warnFailed + err.Error())
		e.child.end(e.l.StopTimeout)
	}
}

// mindKeeper ends the command when the keeper has been killed: a resolver of the
// host that is started again would be in sight. It returns when ctx ends.
func (e *engine) mindKeeper(ctx context.Context) {
	select {
	case <-e.child.keeping:
		e.warn(warnKeeper)
		e.child.end(e.l.StopTimeout)
	case <-ctx.Done():
	}
}

// firstCause returns why the start was given up, if it was, else err: what
// fails after an abort fails because of it. The terminal's Ctrl-C reaches the
// stage by itself, and that it is gone may be seen here before the front says
// why.
func (e *engine) firstCause(err error) error {
	if cause := context.Cause(e.starting); cause != nil {
		return cause
	}
	if errors.Is(err, errStageGone) {
		if sig := e.child.fate(); sig != 0 && sig != unix.SIGKILL {
			return abort{sig}
		}
	}
	return err
}

// leaveTerminal gives up the descriptors that were for the command, and all
// that the caller had left open for it. Our own last words, a panic's, go to
// the log.
func (e *engine) leaveTerminal() {
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	unix.Dup3(null, 0, 0)
	unix.Dup3(null, 1, 0)
	unix.Dup3(e.logFD, 2, 0)
	unix.Close(null)
	closeInherited(-1)
}

// nameLeftovers says which processes of the command are still there, if any: with
// the engine their network ends.
func (e *engine) nameLeftovers() bool {
	pids := strangers()
	if len(pids) == 0 {
		return false
	}
	text := warnLeftovers
	for _, pid := range pids {
		if name, _, _, ok := procStat(pid); ok {
			text += fmt.Sprintf(" %s (%d)", name, pid)
		}
	}
	e.warn(text)
	return true
}
