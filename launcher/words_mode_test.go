package launcher

import "golang.org/x/sys/unix"

// everyModeError is the list of TestEveryMessage that is about modes.
func everyModeError(again func(string) string) []*Error {
	m := fakeMachine(nil)
	list := []*Error{
		errNoSuchMode("magic"),
		errStep("add the address 10.0.0.2", unix.EINVAL),
		errStep("start the inner namespace", unix.ENOSPC),
		usernsRefused(m, "clone", unix.EPERM),
		usernsRefused(m, "clone", unix.ENOSPC),
	}
	for _, b := range blockers {
		list = append(list, errBlocked("namespace", b.name, "clone", unix.EPERM, b.hints(m)))
	}
	for _, d := range denials {
		mode, err := "seccomp", error(unix.EPERM)
		if d.steps[0] == stepFilter || d.steps[0] == stepPlace {
			mode = "preload"
		}
		if len(d.errno) > 0 {
			err = d.errno[0]
		}
		var hints []string
		if d.hints != nil {
			hints = d.hints(m)
		}
		list = append(list, errBlocked(mode, d.name, d.steps[0], err, hints))
	}
	return append(list,
		modeDenied(m, "seccomp", stepRead, unix.EPERM),
		modeDenied(m, "seccomp", stepListen, unix.ENOMEM),
		modeDenied(m, "preload", stepPlace, unix.ENOSPC),
		errNoMachine("seccomp", "mips"),
		errNoShim("riscv64", buildAgain(fakeMachine(map[string]string{"/usr/bin/apt-get": ""}))),
		errNoShim("amd64", buildAgain(m)),
		errAsRoot("seccomp", again),
		errNoMode([]error{
			usernsRefused(m, "clone", unix.EPERM),
			modeDenied(m, "seccomp", stepListen, unix.EBUSY),
			errNoShim("amd64", buildAgain(m)),
		}),
		errNotCovered("./static", "./static is a static program", []string{sayOther(again("--mode=seccomp"))}),
		errNotCovered("sudo", "/usr/bin/sudo is a set-user-ID program", nil),
	)
}

// everyModeWarning is the same of the warnings.
func everyModeWarning() []string {
	return []string{
		uncovered("seccomp"),
		uncovered("preload"),
		warnUnreadable("http", 4711, whyOtherUser+" to 42"),
		warnUnreadable("gosu", 4711, whyOtherUser+" to 42"),
		warnUnreadable("ssh-agent", 4711, whyNotDumped),
		warnNoShim("busybox", 4711),
		warnSearch,
		warnExposedUDP,
	}
}
