package launcher

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"adit/config"
	"adit/wg"

	"golang.org/x/sys/unix"
)

// The names under which the executable starts itself again. They stand in
// argv[0], where ps shows them.
const (
	engineName = "adit-engine"
	stageName  = "adit-stage"
	innerName  = "adit-inner"
	keeperName = "adit-keeper"
	probeName  = "adit-probe"

	probeFilterName = "adit-probe-filter"
)

// A launch is what the front tells the engine, once: everything.
type launch struct {
	Configs []sentConfig // outermost first
	Argv    [][]byte     // bytes: arguments need not be UTF-8
	Mode    string

	Expose      Exposed
	AsRoot      bool
	StopTimeout time.Duration
	PcapInner   string
	PcapOuter   string
	NoOffload   bool
	LogLevel    int
	LogFormat   string
	Status      bool // somebody reads --status-fd

	PID     int    // the front's
	PGID    int    // its process group, which becomes the command's
	Ignored uint64 // signals ignored by our caller
}

func newLaunch(o *Options, mode string) *launch {
	l := &launch{
		Mode:   mode,
		Expose: o.Expose, AsRoot: o.AsRoot, StopTimeout: o.StopTimeout,
		PcapInner: o.PcapInner, PcapOuter: o.PcapOuter, NoOffload: o.NoOffload,
		LogLevel: int(o.LogLevel), LogFormat: o.LogFormat, Status: o.StatusFD >= 0,
		PID: os.Getpid(), PGID: unix.Getpgrp(), Ignored: ignoredSignals(),
	}
	if l.StopTimeout == 0 {
		l.StopTimeout = DefaultStopTimeout
	}
	for _, a := range o.Argv {
		l.Argv = append(l.Argv, []byte(a))
	}
	for _, c := range append(o.Outer, o.Config) {
		l.Configs = append(l.Configs, send(c))
	}
	return l
}

// A sentConfig is a configuration on its way to the engine. Its keys travel
// beside it: they do not marshal.
type sentConfig struct {
	Config     config.Config
	PrivateKey string
	Preshared  []string // one per peer
}

func send(c *config.Config) sentConfig {
	s := sentConfig{Config: *c, PrivateKey: c.PrivateKey.Base64()}
	for _, p := range c.Peers {
		s.Preshared = append(s.Preshared, p.PresharedKey.Base64())
	}
	return s
}

// receive puts the keys back into the configuration.
func (s *sentConfig) receive() (*config.Config, error) {
	c := &s.Config
	var err error
	if c.PrivateKey, err = wg.ParsePrivateKey(s.PrivateKey); err != nil {
		return nil, err
	}
	if len(s.Preshared) != len(c.Peers) {
		return nil, errors.New("BUG: a launch without a preshared key for every peer")
	}
	for i := range c.Peers {
		if c.Peers[i].PresharedKey, err = wg.ParsePresharedKey(s.Preshared[i]); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (l *launch) argv() []string {
	var argv []string
	for _, a := range l.Argv {
		argv = append(argv, string(a))
	}
	return argv
}

// A report is one message from the engine to the front.
type report struct {
	Event  string         // see the event constants
	Text   string         `json:",omitempty"`
	Code   int            `json:",omitempty"`
	Signal syscall.Signal `json:",omitempty"`
	PID    int            `json:",omitempty"`
	Mode   string         `json:",omitempty"` // of eventMode
	Hints  []string       `json:",omitempty"`
}

const (
	eventMode      = "mode"      // Text: the mode and its device
	eventWaiting   = "waiting"   // Text: for what
	eventHandshake = "handshake" // Text: with whom
	eventDown      = "down"      // Text: the peer that no longer answers
	eventReady     = "ready"     // the command may start
	eventStarted   = "started"   // PID
	eventStopped   = "stopped"   // Signal
	eventExit      = "exit"      // Code or Signal
	eventFailed    = "failed"    // Code, Text, Hints
	eventWarning   = "warning"   // Text
)

// An order is one message from the front to the engine, after the launch.
type order struct {
	Signal   syscall.Signal // to the command; before it has started: give up
	Stopping bool           // nothing: the front is about to stop as the command has
	Starting bool           // only the giving up: the command has it already, or is not to have it
}

// A stageConfig is what the engine tells the stage: how to furnish the
// namespaces. It holds no secret.
type stageConfig struct {
	Addresses []netip.Prefix
	Routes    []netip.Prefix
	MTU       int
	DNS       []netip.Addr // for resolv.conf
	Search    []string
	Loopback  bool // open the sockets on 127.0.0.53 and its like
	Inner     bool // the command is uid 0: a second user namespace goes around it
	NoOffload bool // nothing is to be segmented or merged
	KeepEtc   bool // writes to /etc must last: bind files instead of an overlay
	Ignored   uint64

	Mode        string // one without namespaces: nothing is to be furnished
	KeepSockets bool   // its filter tells of every socket that is made
	Library     string // the file that is to be preloaded

	Front, Engine int           // pids
	StopTimeout   time.Duration // between TERM and KILL
}

// A stageReport is what the stage answers: first how the namespaces came out,
// with descriptors beside it, and then only if the command could not be started.
type stageReport struct {
	Device   string   // "tun" or "veth"
	NoTUN    string   // why it is not a TUN
	Sockets  []string // the addresses of the DNS sockets that follow the device
	Notes    []string // for the log
	PID      int      // of the process that becomes the command, when it is another
	Keeper   int      // pid of the keeper
	Listener bool     // the filter's listener is beside it
	Path     string   // of the command, if it matters
	Step     string   // what failed
	Errno    syscall.Errno
	Text     string
}

// errStageGone is returned by send and receive when the other end has been closed.
var errStageGone = errors.New("the process that was to become it has ended")

// A seqpacket is one end of a SOCK_SEQPACKET pair, over which JSON messages
// travel with descriptors beside them.
type seqpacket struct{ c *net.UnixConn }

// maxMessage bounds one message: 1000 routes take less than half.
const maxMessage = 128 << 10

func newSeqpacket(fd int) (*seqpacket, error) {
	f := os.NewFile(uintptr(fd), "stage socket")
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	return &seqpacket{c.(*net.UnixConn)}, nil
}

func (s *seqpacket) send(v any, fds ...int) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	_, _, err = s.c.WriteMsgUnix(b, oob, nil)
	return gone(err)
}

// gone returns errStageGone in the place of what a socket says whose other end
// has been closed: with a message unread, before ours was sent, or in between.
func gone(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET) {
		return errStageGone
	}
	return err
}

// receive waits for a message. The files are close-on-exec.
func (s *seqpacket) receive(v any) ([]*os.File, error) {
	b := make([]byte, maxMessage)
	oob := make([]byte, unix.CmsgSpace(16*4))
	n, oobn, flags, _, err := s.c.ReadMsgUnix(b, oob)
	if err != nil {
		return nil, gone(err)
	}
	if n == 0 {
		return nil, errStageGone
	}
	var files []*os.File
	if msgs, err := unix.ParseSocketControlMessage(oob[:oobn]); err == nil {
		for i := range msgs {
			fds, _ := unix.ParseUnixRights(&msgs[i])
			for _, fd := range fds {
				unix.CloseOnExec(fd)
				files = append(files, os.NewFile(uintptr(fd), fmt.Sprintf("received %d", fd)))
			}
		}
	}
	if flags&unix.MSG_CTRUNC != 0 {
		// There was room for some only: recvmsg(2).
		return files, os.NewSyscallError("recvmsg", unix.EMFILE)
	}
	return files, json.Unmarshal(b[:n], v)
}

func (s *seqpacket) close() { s.c.Close() }

// hangUp makes receive return errStageGone once it has returned what was sent
// before: for when the other end is held open by a process that will not speak.
func (s *seqpacket) hangUp() { s.c.CloseRead() }
