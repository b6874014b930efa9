package preload

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"

	"adit/broker"

	"golang.org/x/sys/unix"
)

// A ServerConfig says what a Server answers with.
type ServerConfig struct {
	Broker    *broker.Broker
	Addresses []netip.Addr // the program's own, in the tunnel
	Search    []string     // domains that res_search(3) looks a name up in

	// Lookup returns the addresses of a name, as netstack.Stack.LookupNetIP does.
	Lookup func(ctx context.Context, network, name string) ([]netip.Addr, error)

	// Answer serves raw DNS messages, as broker.Config.Answer does: res_query(3)
	// and the names of addresses. If nil, there are none.
	Answer func(udp net.PacketConn, tcp net.Listener)

	// Allowed reports whether a process is the program or comes from it.
	Allowed func(pid int) bool

	Logger *slog.Logger // nil discards
}

// A Server answers the shims of one run.
type Server struct {
	cfg  ServerConfig
	log  *slog.Logger
	conn *net.UnixConn
	name [NameLen]byte
	uid  uint32
	dns  *exchanger // nil if there is no ServerConfig.Answer

	hello  sync.Once
	loaded chan struct{} // closed by the first hello
}

// NewServer listens at an abstract address of its own. Whoever knows it can ask;
// who asks is told by the kernel, and others than the program get no answer.
func NewServer(cfg ServerConfig) (*Server, error) {
	s := &Server{cfg: cfg, log: cfg.Logger, uid: uint32(os.Geteuid()), loaded: make(chan struct{})}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	copy(s.name[:], "adit-"+strings.ToLower(rand.Text()))
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		return errors.Join(c.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PASSCRED, 1)
		}), err)
	}}
	c, err := lc.ListenPacket(context.Background(), "unixgram", "@"+string(s.name[:]))
	if err != nil {
		return nil, err
	}
	s.conn = c.(*net.UnixConn)
	if cfg.Answer != nil {
		s.dns = newExchanger(cfg.Answer)
	}
	return s, nil
}

// Name is what stands for the Server in its shim: see [WriteShim].
func (s *Server) Name() [NameLen]byte { return s.name }

// Loaded returns a channel that is closed once a process of the program has
// loaded the shim.
func (s *Server) Loaded() <-chan struct{} { return s.loaded }

// Close makes Serve return. What is asked from now on finds nobody.
func (s *Server) Close() error {
	if s.dns != nil {
		s.dns.Close()
	}
	return s.conn.Close()
}

// Serve answers until ctx ends or the Server is closed, and then waits until the
// last question is answered. Each is answered by a goroutine of its own, which
// ends early when the program has stopped waiting.
func (s *Server) Serve(ctx context.Context) error {
	var answering sync.WaitGroup
	defer answering.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(ctx, func() { s.Close() })()
	// Room for one byte too many, by which a longer question is known.
	buf := make([]byte, questionLen+questionMax+1)
	oob := make([]byte, unix.CmsgSpace(unix.SizeofUcred)+unix.CmsgSpace(maxDescriptors*4))
	for {
		n, oobn, flags, _, err := s.conn.ReadMsgUnix(buf, oob)
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("receive from the shim: %w", err)
		}
		r := newRequest(oob[:oobn])
		r.question, err = parseQuestion(buf[:n])
		switch {
		case err != nil:
			s.log.Debug("not a question of a shim's", "pid", r.from.Pid, "bytes", n)
			r.close()
		case flags&unix.MSG_CTRUNC != 0:
			s.log.Warn("a descriptor of the command's could not be received", "pid", r.from.Pid)
			r.close()
		default:
			r.data = bytes.Clone(r.data)
			answering.Go(func() { s.answer(ctx, r) })
		}
	}
}

// allowed reports whether c is of the program. A program of root's may become
// somebody else and remains ours.
func (s *Server) allowed(c *unix.Ucred) bool {
	return c.Pid > 0 && (c.Uid == s.uid || s.uid == 0) && s.cfg.Allowed(int(c.Pid))
}
