package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// The exit status of confine itself; the program's own is passed on.
const codeFailed = 99

var (
	maxUserns  = flag.Int("max-userns", -1, "so many user namespaces can be made (user.max_user_namespaces)")
	jail       = flag.String("chroot", "", "in a chroot at this empty `folder`, with the same files")
	noTUN      = flag.Bool("no-tun", false, "without /dev/net/tun")
	readOnly   = flag.Bool("ro-proc-sys", false, "with a read-only /proc/sys")
	apparmor   = flag.Bool("apparmor", false, "with user namespaces that give no power, as AppArmor makes them on Ubuntu")
	docker     = flag.Bool("docker", false, "under a filter like Docker's")
	refuse     = flag.String("refuse", "", "these system `calls` fail with EPERM")
	listener   = flag.Bool("listener", false, "with a seccomp listener already there")
	noNewPrivs = flag.Bool("nnp", false, "with no_new_privs")
	caps       = flag.String("caps", "", "with Docker's capabilities only (docker), or `none`")
	user       = flag.Int("user", -1, "as this user and the group of the same `number`")
)

func main() {
	flag.Parse()
	if flag.NArg() == 0 {
		fail("no program was given")
	}
	if *maxUserns >= 0 && os.Getenv(insideVar) == "" {
		os.Exit(inUserns())
	}
	os.Unsetenv(insideVar)
	// All that follows belongs to the thread that executes the program.
	runtime.LockOSThread()
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"limit user namespaces", limitUserns},
		{"arrange mounts", arrangeMounts},
		{"no_new_privs before filters", func() error { return setNoNewPrivs(os.Geteuid() != 0) }},
		{"install filters", installFilters},
		{"give up capabilities", giveUpCaps},
		{"change the user", changeUser},
		{"no_new_privs", func() error { return setNoNewPrivs(true) }},
		{"execute", execute},
	} {
		if err := step.do(); err != nil {
			fail("%s: %v", step.name, err)
		}
	}
}

func fail(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "confine: "+format+"\n", args...)
	os.Exit(codeFailed)
}

// setNoNewPrivs sets it, if now is the time for it.
func setNoNewPrivs(now bool) error {
	if !*noNewPrivs || !now {
		return nil
	}
	return unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
}

// execute becomes the program. With a listener it stays, to hold that open.
func execute() error {
	path, err := exec.LookPath(flag.Arg(0))
	if err != nil {
		return err
	}
	if !*listener {
		return syscall.Exec(path, flag.Args(), os.Environ())
	}
	pid, err := syscall.ForkExec(path, flag.Args(), &syscall.ProcAttr{
		Env: os.Environ(), Files: []uintptr{0, 1, 2}, Sys: &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL},
	})
	if err != nil {
		return err
	}
	os.Exit(waitFor(pid))
	return nil
}

// waitFor waits for the end of a child and returns its status as a shell does.
func waitFor(pid int) int {
	var ws unix.WaitStatus
	for {
		if _, err := unix.Wait4(pid, &ws, 0, nil); err != unix.EINTR {
			break
		}
	}
	if ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return ws.ExitStatus()
}

// listed returns the words of a list with commas.
func listed(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' })
}
