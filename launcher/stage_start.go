package launcher

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"

	"adit/config"

	"golang.org/x/sys/unix"
)

// A stage is the engine's hold on the process that becomes the command.
type stage struct {
	pid  int
	sock *seqpacket
}

// stageCaps is what the stage needs in its own namespaces: to make and set up
// links, packet sockets and mounts, and to bind port 53. It gives all of it up
// before the command.
var stageCaps = []uintptr{unix.CAP_SYS_ADMIN, unix.CAP_NET_ADMIN, unix.CAP_NET_RAW, unix.CAP_NET_BIND_SERVICE}

// namespaces is what the stage is born into.
const namespaces = unix.CLONE_NEWUSER | unix.CLONE_NEWNET | unix.CLONE_NEWNS

// startStage starts this executable again in the process group of the front, in
// new user, network and mount namespaces unless the mode does without. Its standard
// descriptors and whatever else the caller left open are passed on.
func startStage(l *launch, c *config.Config) (*stage, error) {
	env := append(withoutKeys(os.Environ(), "ADIT_ACTIVE", "ADIT_ADDRESS"),
		"ADIT_ACTIVE="+l.Mode, "ADIT_ADDRESS="+addressList(c.Addresses))
	if !isConfined(l.Mode) {
		return spawnStage(stageName, l.argv(), env, mappingFor(l.AsRoot), l.PGID)
	}
	s, err := spawn(stageName, l.argv(), env, &syscall.SysProcAttr{}, l.PGID)
	if err != nil {
		return nil, doing("start a process", err)
	}
	return s, nil
}

// spawnStage is startStage and the probe's common part: a process in namespaces.
func spawnStage(name string, argv, env []string, m mapping, pgid int) (*stage, error) {
	s, err := spawn(name, argv, env, &syscall.SysProcAttr{
		Cloneflags:                 namespaces,
		UidMappings:                m.uids,
		GidMappings:                m.gids,
		GidMappingsEnableSetgroups: m.whole,
		AmbientCaps:                stageCaps,
	}, pgid)
	if err != nil && remedies(err) != nil && !errors.Is(err, unix.ENOSPC) {
		return nil, doing("start a process", err)
	}
	if err != nil {
		return nil, usernsRefused(thisMachine(), "clone", err)
	}
	return s, nil
}

// spawn starts this executable as one that talks to us over a socket, whose number
// it is told first. pgid 0 leaves the process group as it is.
func spawn(name string, argv, env []string, sys *syscall.SysProcAttr, pgid int) (*stage, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET, 0)
	if err != nil {
		return nil, os.NewSyscallError("socketpair", err)
	}
	unix.CloseOnExec(pair[0])
	defer unix.Close(pair[1])
	sys.Setpgid, sys.Pgid = pgid != 0, pgid
	// Stopped, it must hear that the engine is gone. It is taken back before the
	// command.
	sys.Pdeathsig = unix.SIGCONT
	pid, err := syscall.ForkExec("/proc/self/exe", append([]string{name, strconv.Itoa(pair[1])}, argv...),
		&syscall.ProcAttr{Env: env, Files: []uintptr{0, 1, 2}, Sys: sys})
	if err != nil {
		unix.Close(pair[0])
		return nil, err
	}
	sock, err := newSeqpacket(pair[0])
	if err != nil {
		unix.Kill(pid, unix.SIGKILL)
		return nil, err
	}
	return &stage{pid: pid, sock: sock}, nil
}

// withoutKeys returns env without the named variables.
func withoutKeys(env []string, names ...string) []string {
	out := make([]string, 0, len(env)+len(names))
next:
	for _, kv := range env {
		for _, name := range names {
			if strings.HasPrefix(kv, name+"=") {
				continue next
			}
		}
		out = append(out, kv)
	}
	return out
}

func addressList(prefixes []netip.Prefix) string {
	var list []string
	for _, p := range prefixes {
		list = append(list, p.Addr().String())
	}
	return strings.Join(list, ",")
}

// furnish sends the stage what to make of its namespaces and returns what came
// out, with the device and the DNS sockets, which are the caller's.
func (s *stage) furnish(c *stageConfig) (*stageReport, []*os.File, error) {
	var r stageReport
	var files []*os.File
	err := s.sock.send(c)
	if err == nil {
		files, err = s.sock.receive(&r)
	}
	if err == nil && r.Step != "" {
		err = stageFailure(&r)
	}
	if err != nil {
		for _, f := range files {
			f.Close()
		}
		if errors.Is(err, errStageGone) {
			return nil, nil, errStageLost()
		}
		return nil, nil, fmt.Errorf("furnish the namespace: %w", err)
	}
	if devices := 1 + len(r.Sockets); c.Mode == "" && len(files) != devices {
		return nil, nil, fmt.Errorf("BUG: the stage sent %d descriptors for %d sockets", len(files), len(r.Sockets))
	}
	return &r, files, nil
}

// stageFailure makes an error of a report that something failed.
func stageFailure(r *stageReport) error {
	var cause error = errors.New(r.Text)
	if r.Errno != 0 {
		cause = r.Errno
	}
	if e := powerless(thisMachine(), r.Step, r.Errno); e != nil {
		return e
	}
	return errStep(r.Step, cause)
}

// The words of the stage's last message before execve, and of the engine's that
// lets it go there.
const (
	stepExec = "execve"
	wordGo   = "go"
)

// release lets the stage become the command and waits until it has, or could
// not: the socket is close-on-exec, so its end is the success.
//
// listen, if not nil, gets the listener of a filter that the stage has installed.
func (s *stage) release(c *child, listen func(*os.File) error) (int, error) {
	if err := s.sock.send(wordGo); err != nil {
		return 0, doing("start the command", err)
	}
	executing := false
	for {
		var r stageReport
		files, err := s.sock.receive(&r)
		switch {
		case err == nil && r.Listener && len(files) == 1:
			if err := listen(files[0]); err != nil {
				return 0, doing("answer system calls", err)
			}
		case err != nil && executing:
			return c.started(), nil
		case err != nil:
			return 0, errStageLost()
		case r.Step == stepExec && r.Errno == 0:
			executing = true
		default:
			return 0, execFailure(&r)
		}
	}
}

// execFailure gives a failed execve the status that a shell gives it.
func execFailure(r *stageReport) error {
	switch {
	case r.Step == stepCover:
		return errNotCovered(r.Path, r.Text, nil)
	case r.Step != stepExec:
		return stageFailure(r)
	case r.Errno == unix.ENOENT:
		return errNotFound(r.Text)
	default:
		return errCannotExecute(r.Text, r.Errno)
	}
}

func (s *stage) close() { s.sock.close() }
