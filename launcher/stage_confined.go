package launcher

import (
	"errors"
	"os"
	"runtime"

	"adit/preload"

	"golang.org/x/sys/unix"
)

// becomeConfined is becomeCommand without namespaces. Its duties, in this order:
//
//  1. say that it is there, and wait for the engine's word
//  2. close what the command must not inherit
//  3. drop what would undo the binding to lo, or get at the engine
//  4. give up new privileges, for good: an ordinary user may install filters then
//  5. install the filters. From here on the engine answers this thread's calls
//  6. execve
func becomeConfined(sock *seqpacket, c *stageConfig, argv []string) error {
	if err := sock.send(&stageReport{Device: c.Mode}); err != nil {
		return step("report to the engine", err)
	}
	var word string
	if _, err := sock.receive(&word); err != nil || word != wordGo {
		return step("wait for the tunnel", errors.Join(err, errStageGone))
	}
	if err := closeWaysOut(true); err != nil {
		return step("close the caller's sockets", err)
	}
	if c.Mode == "preload" {
		path, err := lookPath(argv[0])
		if err == nil {
			if err := preload.Covers(path); err != nil {
				sock.send(&stageReport{Step: stepCover, Path: argv[0], Text: err.Error()})
				os.Exit(CodeCannotRun)
			}
			os.Setenv("LD_PRELOAD", withLibrary(os.Getenv("LD_PRELOAD"), c.Library))
		}
	}
	if err := dropPowers(); err != nil {
		return step("drop capabilities", err)
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return step("give up new privileges", os.NewSyscallError("prctl", err))
	}
	if err := installFilter(); err != nil {
		return step("install the system call filter", err)
	}
	restoreIgnored(c.Ignored)
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, 0, 0, 0, 0); err != nil {
		return step("forget the engine", os.NewSyscallError("prctl", err))
	}
	if err := c.installMode(sock); err != nil {
		return err
	}
	return executeOrReport(sock, argv)
}

// withLibrary adds the shim to what is preloaded already.
func withLibrary(old, library string) string {
	if old == "" {
		return library
	}
	return old + ":" + library
}

// stepCover is preload mode's refusal of a command.
const stepCover = "cover"

// installMode installs the filter of the mode.
func (c *stageConfig) installMode(sock *seqpacket) error {
	if c.Mode == "preload" {
		guard := preload.Guard(runtime.GOARCH)
		if guard == nil {
			return step("install the system call filter", errors.ErrUnsupported)
		}
		_, err := setFilter(guard, 0)
		return step("install the system call filter", err)
	}
	filter := notifyFilter(runtime.GOARCH, c.KeepSockets)
	if filter == nil {
		return step("install the system call filter", errors.ErrUnsupported)
	}
	// Once the filter is there nobody answers this thread before the engine has the
	// listener: another thread, which has no filter, sends it.
	listener := make(chan int) // the one listener
	sent := make(chan error)   // what came of sending it
	ready := make(chan struct{})
	go func() {
		runtime.LockOSThread()
		close(ready)
		if fd, ok := <-listener; ok {
			sent <- sock.send(&stageReport{Listener: true}, fd)
		}
	}()
	<-ready
	fd, err := seccompListener(filter)
	if err != nil {
		close(listener)
		return step(stepListen, err)
	}
	listener <- fd
	err = <-sent
	unix.Close(fd)
	return step("hand over the listener", err)
}

// powers are the capabilities by which the command could undo what confines it:
// unbind a socket from lo, change the network, get at the engine's memory and
// descriptors, change the kernel. Those of ordinary work in a container stay.
var powers = []uint{
	unix.CAP_NET_RAW, unix.CAP_NET_ADMIN, unix.CAP_SYS_ADMIN, unix.CAP_SYS_PTRACE,
	unix.CAP_SYS_MODULE, unix.CAP_SYS_RAWIO, unix.CAP_BPF, unix.CAP_PERFMON, unix.CAP_CHECKPOINT_RESTORE,
}

// dropPowers drops them from every set of this thread. Without CAP_SETPCAP the
// bounding set stays; it gives nobody anything who may gain no privileges.
func dropPowers() error {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	if err := unix.Capget(&hdr, &sets[0]); err != nil {
		return os.NewSyscallError("capget", err)
	}
	for _, power := range powers {
		unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(power), 0, 0, 0)
		unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_LOWER, uintptr(power), 0, 0)
		set, bit := &sets[power/32], uint32(1)<<(power%32)
		set.Effective &^= bit
		set.Permitted &^= bit
		set.Inheritable &^= bit
	}
	return os.NewSyscallError("capset", unix.Capset(&hdr, &sets[0]))
}
