package launcher

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// probePatience is how long a call of the child's may take to arrive. It ends an
// attempt that would hang; a good one takes some milliseconds.
const probePatience = 5 * time.Second

// probeSeccomp serves two calls of a child in seccomp mode's way: it answers
// socket(2) with a socket of ours that is bound to lo, and at connect(2) reads and
// writes the child's memory and borrows the socket.
func probeSeccomp(ctx context.Context) (string, error) {
	const mode = "seccomp"
	if _, known := callsFor(runtime.GOARCH); !known {
		return "", errNoMachine(mode, runtime.GOARCH)
	}
	if err := askFilter(unix.SECCOMP_FILTER_FLAG_NEW_LISTENER); err != nil {
		return "", modeDenied(thisMachine(), mode, stepListen, err)
	}
	detail := "seccomp notification"
	err := tryLoopback()
	if err == nil {
		err = withProbe(ctx, probeListen, func(p *stage, listener int) error {
			refusal, err := serveProbe(p, listener)
			if refusal != nil {
				detail += fmt.Sprintf(" (no %s: %v)", stepBorrow, refusal)
			}
			return err
		})
	}
	if err != nil {
		return "", probeFailure(mode, err)
	}
	return detail, nil
}

// probeFailure makes an error of a mode of what an attempt came to.
func probeFailure(mode string, err error) error {
	var s *stepError
	if !errors.As(err, &s) {
		return err
	}
	return modeDenied(thisMachine(), mode, s.step, s.err)
}

// askFilter asks for a filter that cannot be read, and so is not installed:
// EFAULT says that it would be (seccomp(2)).
func askFilter(flags uintptr) error {
	_, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, 0)
	if errno != unix.EFAULT {
		return errno
	}
	return nil
}

// withProbe starts a child of the kind and does f with it and its listener, which
// is -1 if it has none. The child is gone afterwards.
func withProbe(ctx context.Context, kind string, f func(p *stage, listener int) error) error {
	p, err := spawn(probeFilterName, []string{kind}, os.Environ(), &syscall.SysProcAttr{}, 0)
	if err != nil {
		return doing("start a process", err)
	}
	defer unix.Wait4(p.pid, nil, 0, nil)
	defer unix.Kill(p.pid, unix.SIGKILL)
	defer p.close()
	stop := context.AfterFunc(ctx, func() { unix.Kill(p.pid, unix.SIGKILL) })
	defer stop()
	if kind == probeNamespaces {
		return f(p, -1)
	}
	files, err := p.probed()
	if err != nil {
		return err
	}
	listener := -1
	if len(files) > 0 {
		defer files[0].Close()
		listener = int(files[0].Fd())
	}
	return f(p, listener)
}

// probed waits for the child's next message: that all is well, or which step
// failed.
func (s *stage) probed() ([]*os.File, error) {
	var r stageReport
	files, err := s.sock.receive(&r)
	switch {
	case err != nil:
		return files, step("hear from the attempt", err)
	case r.Errno != 0:
		return files, step(r.Step, r.Errno)
	case r.Step != "":
		return files, step(r.Step, errors.New(r.Text))
	}
	return files, nil
}

// serveProbe answers the child's calls. refusal is why its socket could not be
// borrowed, which is no failure: copies can be kept instead.
func serveProbe(p *stage, listener int) (refusal, err error) {
	err = serveCall(listener, func(req *notifRequest) error {
		fd, err := streamOnLo()
		if err != nil {
			return step(stepBindToLo, err)
		}
		defer unix.Close(fd)
		_, err = notifAddFD(listener, &notifFD{id: req.id, flags: addFDSend, src: uint32(fd)})
		return step(stepHandOut, err)
	})
	if err != nil {
		return nil, err
	}
	err = serveCall(listener, func(req *notifRequest) error {
		if err := tryMemory(int(req.pid), uintptr(req.args[1])); err != nil {
			return err
		}
		refusal = tryBorrow(p.pid, int(req.args[0]))
		return step(stepHandOut, notifSend(listener, &notifResponse{id: req.id}))
	})
	if err == nil {
		_, err = p.probed()
	}
	return refusal, err
}

// serveCall waits for a call and does f with it, again if a signal cancelled it.
func serveCall(listener int, f func(*notifRequest) error) error {
	for begin := time.Now(); ; {
		var req notifRequest
		ready := []unix.PollFd{{Fd: int32(listener), Events: unix.POLLIN}}
		n, err := unix.Poll(ready, int(probePatience.Milliseconds()))
		switch {
		case err == unix.EINTR && time.Since(begin) < probePatience:
			continue
		case err != nil:
			return step("wait for a call", err)
		case n == 0 || ready[0].Revents&unix.POLLIN == 0:
			return step("wait for a call", errStageGone)
		}
		err = notifReceive(listener, &req)
		if err == nil {
			err = f(&req)
		}
		if !errors.Is(err, unix.ENOENT) || time.Since(begin) > probePatience {
			return step("receive a call", err)
		}
	}
}

// tryMemory reads and writes back the probe's address in the memory of thread tid.
func tryMemory(tid int, at uintptr) error {
	buf := make([]byte, len(probeAddress))
	local := iovec(buf)
	remote := []unix.RemoteIovec{{Base: at, Len: len(buf)}}
	if _, err := unix.ProcessVMReadv(tid, local, remote, 0); err != nil {
		return step(stepRead, err)
	}
	if !bytes.Equal(buf, probeAddress[:]) {
		return step(stepRead, errors.New("it is not what was written there"))
	}
	_, err := unix.ProcessVMWritev(tid, local, remote, 0)
	return step(stepWrite, err)
}

// tryBorrow takes a copy of descriptor fd of process pid.
func tryBorrow(pid, fd int) error {
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return err
	}
	defer unix.Close(pidfd)
	copied, err := unix.PidfdGetfd(pidfd, fd, 0)
	if err == nil {
		unix.Close(copied)
	}
	return err
}

// probeAddress is what the child says to connect to: 192.0.2.1:9.
var probeAddress = [16]byte{unix.AF_INET, 0, 0, 9, 192, 0, 2, 1}

// What a child of withProbe's does.
const (
	probeListen     = "listen"    // has two calls served by a listener
	probeGuard      = "guard"     // has a call refused by a filter alone
	probeNamespaces = "namespace" // makes the attempt of namespaces
)

// probeFilterMain is the main of that child.
func probeFilterMain(args []string) {
	runtime.LockOSThread()
	sock, args, err := stageArgs(args)
	if err != nil || len(args) != 1 {
		os.Exit(CodeFailed)
	}
	if args[0] == probeNamespaces {
		reportNamespace(sock)
		os.Exit(0)
	}
	// An executable that its user may not read makes a process that is not
	// dumpable. The command will be another one.
	unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0)
	if err = unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		err = step("no_new_privs", err)
	} else if args[0] == probeListen {
		err = beServed(sock)
	} else {
		err = beGuarded()
	}
	if err != nil {
		sock.send(failureReport(err))
		os.Exit(CodeFailed)
	}
	sock.send(&stageReport{})
	os.Exit(0)
}

// beServed sends the listener and makes the calls that probeSeccomp serves.
func beServed(sock *seqpacket) error {
	notify := ret(unix.SECCOMP_RET_USER_NOTIF)
	listener, err := seccompListener([]unix.SockFilter{
		load(dataNr),
		jump(unix.BPF_JEQ, unix.SYS_SOCKET, 1, 0),
		jump(unix.BPF_JEQ, unix.SYS_CONNECT, 0, 1),
		notify,
		ret(unix.SECCOMP_RET_ALLOW),
	})
	if err != nil {
		return step(stepListen, err)
	}
	if err := sock.send(&stageReport{}, listener); err != nil {
		return step(stepListen, err)
	}
	// As long as we had it ourselves, nobody's death would end our waiting.
	unix.Close(listener)
	fd, _, errno := unix.Syscall(unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_STREAM, 0)
	if errno != 0 {
		return step(stepHandOut, errno)
	}
	_, _, errno = unix.Syscall(unix.SYS_CONNECT, fd, uintptr(unsafe.Pointer(&probeAddress)), uintptr(len(probeAddress)))
	if errno != 0 {
		return step(stepHandOut, errno)
	}
	return nil
}
