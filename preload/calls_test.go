package preload

import (
	"context"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// Whatever a program asks about whichever descriptor, there is an errno for it, and
// the answer is one that the shim has room for.
func FuzzQuestionsAboutSockets(f *testing.F) {
	s := newTestServer(f, newTestNet(f), func(int) bool { return true })
	for op := opSocket; op <= opSocketError; op++ {
		for about := range byte(4) {
			f.Add(uint32(op), about, int32(unix.AF_INET6), int32(unix.SOCK_STREAM|unix.SOCK_NONBLOCK), int32(0), []byte{unix.AF_INET, 0, 0, 7, 10, 9, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0})
		}
	}
	f.Add(uint32(opConnect), byte(1), int32(0), int32(0), int32(0), []byte{unix.AF_UNIX, 0, 'a', 0})
	f.Fuzz(func(t *testing.T, op uint32, about byte, a, b, c int32, data []byte) {
		q, err := parseQuestion(question{operation(op), [4]int32{a, b, c}, data}.append(nil))
		if err != nil || q.op <= opHello || q.op >= opAddrInfo {
			return
		}
		fd := someDescriptor(t, s, about)
		r := &request{question: q, from: unix.Ucred{Pid: int32(os.Getpid())}, end: -1, socket: fd}
		defer r.close()
		answer, made := s.handle(context.Background(), r)
		if made >= 0 {
			unix.Close(made)
		}
		if answer.err < 0 || answer.err > 4095 || len(answer.data) > unix.SizeofSockaddrAny || made >= 0 != (q.op == opSocket && answer.err == 0) {
			t.Errorf("got error %d, %d bytes, descriptor %d", answer.err, len(answer.data), made)
		}
		if q.op == opConnect && fd >= 0 {
			// Nothing stays pending.
			s.handle(context.Background(), &request{question: question{op: opConnect, data: make([]byte, 16)}, from: r.from, socket: fd})
		}
	})
}

// someDescriptor opens one of some kind, or none.
func someDescriptor(t *testing.T, s *Server, kind byte) int {
	t.Helper()
	var fds [2]int
	var err error
	switch kind % 5 {
	case 0, 1:
		fd, errno := s.cfg.Broker.NewStream([]int{unix.AF_INET, unix.AF_INET6}[kind%5], true)
		if errno != 0 {
			t.Fatal(errno)
		}
		return fd
	case 2:
		fds, err = unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	case 3:
		err = unix.Pipe2(fds[:], unix.O_CLOEXEC)
	default:
		return -1
	}
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(fds[1])
	return fds[0]
}
