package launcher

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// startInner starts this executable once more, in a user and a mount namespace
// inside the stage's. There the command can be uid 0, change owners and users
// and mount, and still has no power over the network, which belongs to the
// user namespace around it, nor over our mounts, which are locked for it
// (user_namespaces(7), mount_namespaces(7)).
func startInner(sock *seqpacket, c *stageConfig, argv []string) (int, error) {
	raw, err := sock.c.File()
	if err != nil {
		return 0, err
	}
	defer raw.Close()
	fd, err := unix.Dup(int(raw.Fd())) // not close-on-exec
	if err != nil {
		return 0, os.NewSyscallError("dup", err)
	}
	defer unix.Close(fd)
	uids, err := ownMap("/proc/self/uid_map")
	if err != nil {
		return 0, err
	}
	gids, err := ownMap("/proc/self/gid_map")
	if err != nil {
		return 0, err
	}
	// The inner stage needs little: what is left to do comes with argv.
	args := append([]string{innerName, strconv.Itoa(fd), strconv.FormatUint(c.Ignored, 16)}, argv...)
	pid, err := syscall.ForkExec("/proc/self/exe", args, &syscall.ProcAttr{
		Env:   os.Environ(),
		Files: []uintptr{0, 1, 2},
		Sys: &syscall.SysProcAttr{
			Cloneflags:                 unix.CLONE_NEWUSER | unix.CLONE_NEWNS,
			UidMappings:                uids,
			GidMappings:                gids,
			GidMappingsEnableSetgroups: setgroupsAllowed(),
			Pdeathsig:                  unix.SIGCONT, // as the stage's
		},
	})
	return pid, err
}

func setgroupsAllowed() bool {
	b, err := os.ReadFile("/proc/self/setgroups")
	return err == nil && strings.TrimSpace(string(b)) == "allow"
}

// innerMain is the main of the inner stage: args are the socket's number, the
// ignored signals and the command.
func innerMain(args []string) {
	runtime.LockOSThread()
	if len(args) < 3 {
		os.Exit(CodeFailed)
	}
	sock, rest, err := stageArgs(args)
	if err != nil {
		fmt.Fprintf(os.Stderr, "adit: stage: %v\n", err)
		os.Exit(CodeFailed)
	}
	ignored, err := strconv.ParseUint(rest[0], 16, 64)
	if err == nil {
		err = becomeCommand(sock, &stageConfig{Inner: true, Ignored: ignored}, rest[1:])
	}
	sock.send(failureReport(err))
	os.Exit(CodeFailed)
}
