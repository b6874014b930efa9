package preload

import (
	"context"
	"os"

	"golang.org/x/sys/unix"
)

// maxDescriptors is how many come with a question: the end of the pair, and the
// socket.
const maxDescriptors = 2

// A request is a question on its way to its answer.
type request struct {
	question
	from   unix.Ucred // all zero if the kernel did not say
	end    int        // of the pair, where the answer goes; -1 if there is none
	socket int        // that the question is about; -1 if there is none
	then   func()     // what remains to be done when the answer has been sent; it may last
}

// newRequest takes what came beside a question.
func newRequest(oob []byte) *request {
	r := &request{end: -1, socket: -1}
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return r
	}
	for _, m := range messages {
		if c, err := unix.ParseUnixCredentials(&m); err == nil {
			r.from = *c
		}
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			continue
		}
		for _, fd := range fds {
			switch {
			case r.end < 0:
				r.end = fd
			case r.socket < 0:
				r.socket = fd
			default:
				unix.Close(fd)
			}
		}
	}
	if r.end >= 0 && !isPairEnd(r.end) {
		unix.Close(r.end)
		r.end = -1
	}
	return r
}

// isPairEnd reports whether fd is what an answer is to go to: of anything else nobody
// knows how long it waits.
func isPairEnd(fd int) bool {
	domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil || domain != unix.AF_UNIX {
		return false
	}
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	return err == nil && kind == unix.SOCK_SEQPACKET
}

// close lets go of the descriptors. A program that waits is told of the end.
func (r *request) close() {
	for _, fd := range []int{r.end, r.socket} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
	r.end, r.socket = -1, -1
}

// letGo lets go of the socket that the question is about.
func (r *request) letGo() {
	if r.socket >= 0 {
		unix.Close(r.socket)
		r.socket = -1
	}
}

// answer does what is asked and says so.
func (s *Server) answer(ctx context.Context, r *request) {
	defer r.close()
	if !s.allowed(&r.from) {
		s.log.Debug("a question of a stranger's is not answered", "pid", r.from.Pid, "uid", r.from.Uid)
		return
	}
	if r.op == opHello {
		s.hello.Do(func() { close(s.loaded) })
		return
	}
	if r.end < 0 {
		return // nobody could be told
	}
	ctx, stop, err := r.untilGone(ctx)
	if err != nil {
		s.log.Warn("a question of a shim's is not answered", "pid", r.from.Pid, "cause", err)
		return
	}
	defer stop()
	a, fd := s.handle(ctx, r)
	r.letGo() // when the program closes the socket, it is to be closed
	var rights []byte
	if fd >= 0 {
		defer unix.Close(fd)
		rights = unix.UnixRights(fd)
	}
	// Nobody is there any more, or takes it at once: it is the first message.
	unix.Sendmsg(r.end, a.append(nil), rights, nil, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
	if r.then != nil {
		go r.then()
	}
}

// waits reports whether the operation may take its time.
func (o operation) waits() bool {
	switch o {
	case opConnect, opAddrInfo, opNameInfo, opHostByName, opHostByAddress, opResQuery, opResSearch, opResSend:
		return true
	}
	return false
}

// untilGone returns a context that ends when the program has closed its end of the
// pair: a signal came, or it has died.
func (r *request) untilGone(ctx context.Context) (context.Context, func(), error) {
	if !r.op.waits() {
		return ctx, func() {}, nil
	}
	fd, err := unix.FcntlInt(uintptr(r.end), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("fcntl", err)
	}
	unix.SetNonblock(fd, true) // of both: neither is to block
	end := os.NewFile(uintptr(fd), "shim")
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		end.Read(make([]byte, 1)) // the program says nothing more
		cancel()
	}()
	return ctx, func() { end.Close(); <-done; cancel() }, nil
}
