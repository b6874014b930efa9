package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// insideVar holds the lab's folder in the environment of the process inside.
const insideVar = "ADIT_E2E_INSIDE"

// Inside reports whether this process was started by [Enter].
func Inside() bool { return os.Getenv(insideVar) != "" }

// AsRoot reports whether the lab is built with root's privileges. If not, all
// of it lives in a user namespace in which the caller keeps their own uid.
func AsRoot() bool { return os.Getuid() == 0 }

// Enter runs this program again, with the same arguments, in new network and
// mount namespaces (and, unless the caller is root, a new user namespace), and
// returns its exit status. dir is a folder that everybody may look into; the
// lab keeps its files there. env is added to the environment.
//
// The error says why there can be no lab here: nothing has run then.
func Enter(dir string, env ...string) (int, error) {
	// PDEATHSIG is tied to the thread that forks: prctl(2).
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(append(os.Environ(), insideVar+"="+dir), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS,
		Pdeathsig:  syscall.SIGKILL,
	}
	if !AsRoot() {
		a := cmd.SysProcAttr
		a.Cloneflags |= unix.CLONE_NEWUSER
		a.UidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getuid(), HostID: os.Getuid(), Size: 1}}
		a.GidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getgid(), HostID: os.Getgid(), Size: 1}}
		a.AmbientCaps = []uintptr{
			unix.CAP_SYS_ADMIN, unix.CAP_NET_ADMIN, unix.CAP_NET_RAW, unix.CAP_NET_BIND_SERVICE,
		}
	}
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("enter new namespaces: %w", err)
	}
	err := cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return 0, err
	}
	if ws := cmd.ProcessState.Sys().(syscall.WaitStatus); ws.Signaled() {
		return 128 + int(ws.Signal()), nil
	}
	return cmd.ProcessState.ExitCode(), nil
}
