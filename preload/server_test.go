package preload

import (
	"context"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A client asks a Server as the shim does.
type client struct {
	t    testing.TB
	name string
}

// send sends bytes with descriptors, and returns the end of the pair on which an
// answer would come.
func (c client) send(b []byte, socket int, more ...int) *os.File {
	c.t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		c.t.Fatal(err)
	}
	defer unix.Close(pair[1])
	fds := []int{pair[1]}
	if socket >= 0 {
		fds = append(fds, socket)
	}
	c.sendWith(b, append(fds, more...)...)
	unix.SetNonblock(pair[0], true)
	f := os.NewFile(uintptr(pair[0]), "answer")
	c.t.Cleanup(func() { f.Close() })
	f.SetReadDeadline(time.Now().Add(patience))
	return f
}

func (c client) sendWith(b []byte, fds ...int) {
	c.t.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		c.t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Sendmsg(fd, b, unix.UnixRights(fds...), &unix.SockaddrUnix{Name: "@" + c.name}, 0); err != nil {
		c.t.Fatal(err)
	}
}

// ask returns the answer to a question; false if the Server hangs up instead.
func (c client) ask(q question, socket int) (answer, bool) {
	c.t.Helper()
	f := c.send(q.append(nil), socket)
	buf := make([]byte, answerLen+answerMax)
	n, err := f.Read(buf)
	if err != nil || n == 0 {
		if os.IsTimeout(err) {
			c.t.Fatal("the Server neither answers nor hangs up")
		}
		return answer{}, false
	}
	a, err := parseAnswer(buf[:n])
	if err != nil {
		c.t.Fatal(err)
	}
	return a, true
}

func newClient(t testing.TB, s *Server) client {
	name := s.Name()
	return client{t, string(name[:])}
}

var listenQuestion = question{op: opListen, arg: [4]int32{5}}

func TestStrangersGetNoAnswer(t *testing.T) {
	asked := make(chan int, 9) // more than there are questions
	s := newTestServer(t, newTestNet(t), func(pid int) bool { asked <- pid; return false })
	if a, ok := newClient(t, s).ask(question{op: opSocket, arg: [4]int32{unix.AF_INET, unix.SOCK_STREAM}}, -1); ok {
		t.Errorf("a process that is not of the command is told %+v", a)
	}
	if pid := <-asked; pid != os.Getpid() {
		t.Errorf("process %d was asked about, want %d: the kernel says who it is", pid, os.Getpid())
	}
}

// Another user of the machine can send to the address as well.
func TestOtherUsersGetNoAnswer(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root has another user's process at hand")
	}
	s := newTestServer(t, newTestNet(t), func(int) bool { return true }, func(s *Server) {
		s.uid = 4711 // as if adit were not root's
	})
	if a, ok := newClient(t, s).ask(question{op: opSocket, arg: [4]int32{unix.AF_INET, unix.SOCK_STREAM}}, -1); ok {
		t.Errorf("a process of root's is told %+v by a Server of user 4711", a)
	}
}

func TestWhatIsNoQuestionIsIgnored(t *testing.T) {
	s := newTestServer(t, newTestNet(t), func(int) bool { return true })
	c := newClient(t, s)
	whole := question{op: opListen, data: []byte("data")}.append(nil)
	for name, b := range map[string][]byte{
		"nothing":                {},
		"a part of a question":   whole[:10],
		"less data than is said": whole[:len(whole)-1],
		"more data than is said": append(slices.Clone(whole), 0),
		"more than there may be": question{op: opListen, data: make([]byte, questionMax+1)}.append(nil),
		"no operation":           question{op: 0}.append(nil),
		"another operation":      question{op: opResSend + 1}.append(nil),
	} {
		f := c.send(b, -1)
		if n, err := f.Read(make([]byte, 100)); n > 0 || os.IsTimeout(err) {
			t.Errorf("%s: got %d bytes (%v), want the end", name, n, err)
		}
	}
	c.sendWith(listenQuestion.append(nil))
	c.sendWith(question{op: opHello}.append(nil), 0, 1, 2)
	if _, ok := c.ask(listenQuestion, -1); !ok {
		t.Error("after all that a question has no answer")
	}
}

func TestDescriptorsThatCameAreClosed(t *testing.T) {
	s := newTestServer(t, newTestNet(t), func(int) bool { return true })
	c := newClient(t, s)
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	reader := os.NewFile(uintptr(pipe[0]), "reader")
	defer reader.Close()
	for _, q := range []question{listenQuestion, {op: opHello}, {op: 99}} {
		c.send(q.append(nil), pipe[1])
		c.send(q.append(nil), pipe[1], pipe[1], pipe[1])
	}
	unix.Close(pipe[1])
	// The end of the pipe is told when the last of its descriptors is closed.
	if n, err := reader.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("read %d bytes (%v)", n, err)
	}
}

// A socket that adit did not make has its names and goes nowhere.
func TestSocketsOfOthersGoNowhere(t *testing.T) {
	s := newTestServer(t, newTestNet(t), func(int) bool { return true })
	c := newClient(t, s)
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	sa := sockaddrOf(netip.MustParseAddr("10.9.0.1"), 7)
	for _, q := range []question{{op: opConnect, data: sa}, {op: opBind, data: sa}, listenQuestion} {
		if a, ok := c.ask(q, fd); !ok || a.err != int32(unix.EACCES) {
			t.Errorf("operation %d: got %+v, want EACCES", q.op, a)
		}
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pair[0])
	defer unix.Close(pair[1])
	if a, ok := c.ask(question{op: opConnect, data: sa}, pair[0]); !ok || a.err != int32(unix.EINVAL) {
		t.Errorf("a unix socket: got %+v, want EINVAL", a)
	}
	a, _ := c.ask(question{op: opLocalName}, fd)
	if at, ok := parseSockaddr(a.data); !ok || at.Addr().String() != "127.0.0.1" {
		t.Errorf("its name is %v (%+v), want 127.0.0.1", at, a)
	}
}

// A program that stops waiting, by a signal or its death, is waited for no longer.
func TestLookupEndsWithWhoWaits(t *testing.T) {
	n := newTestNet(t)
	ended := make(chan error, 1)
	s := newTestServer(t, n, func(int) bool { return true }, func(s *Server) {
		s.cfg.Lookup = func(ctx context.Context, _, _ string) ([]netip.Addr, error) {
			<-ctx.Done()
			ended <- ctx.Err()
			return nil, ctx.Err()
		}
	})
	text := "some.where"
	f := newClient(t, s).send(question{op: opHostByName, arg: [4]int32{unix.AF_INET}, data: appendOptionalText(nil, &text)}.append(nil), -1)
	f.Close()
	select {
	case <-ended:
	case <-time.After(patience):
		t.Error("nobody waits, and the name is asked for on")
	}
}

// A thousand questions at once, more than the socket's queue holds.
func TestManyAskAtOnce(t *testing.T) {
	s := newTestServer(t, newTestNet(t), func(int) bool { return true })
	c := newClient(t, s)
	answers := make(chan bool)
	const n = 200
	for range n {
		go func() {
			a, ok := c.ask(question{op: opNameInfo, arg: [4]int32{niNumericHost, 1, 0}, data: sockaddrOf(netip.MustParseAddr("192.0.2.9"), 1)}, -1)
			answers <- ok && a.err == 0
		}()
	}
	for range n {
		if !<-answers {
			t.Error("one was not answered")
		}
	}
}

func TestServerEndsWithItsContext(t *testing.T) {
	s, err := NewServer(ServerConfig{Allowed: func(int) bool { return true }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Serve(ctx) }()
	cancel()
	if err := <-done; err != nil {
		t.Errorf("got %v, want nil", err)
	}
	name := s.Name()
	if c, err := net.Dial("unixgram", "@"+string(name[:])); err == nil {
		c.Close()
		t.Error("somebody is at the address still")
	}
}

func TestNamesOfServersDiffer(t *testing.T) {
	a, err := NewServer(ServerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	b, err := NewServer(ServerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if a.Name() == b.Name() {
		t.Errorf("both are %q", a.Name())
	}
}
